#ifndef SIEVE_TRAINER_EVAL_JSON_LINES_H_
#define SIEVE_TRAINER_EVAL_JSON_LINES_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace sieve {

// The objects of a file of JSON lines, gzip-compressed or not; empty lines are left out. `limit` 0:
// all, else the first ones. The errors of TextFile, and INVALID_ARGUMENT naming the line for
// what is no object.
absl::StatusOr<std::vector<nlohmann::json>> ReadJsonLines(const std::string& path, int64_t limit);

// INVALID_ARGUMENT, naming file and key, unless the object has a text of that name.
absl::StatusOr<std::string> TextField(const nlohmann::json& object, const char* key,
                                      const std::string& path);

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_JSON_LINES_H_
