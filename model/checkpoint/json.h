#ifndef SIEVE_MODEL_CHECKPOINT_JSON_H_
#define SIEVE_MODEL_CHECKPOINT_JSON_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace sieve {

// Parses an object. INVALID_ARGUMENT, with the reason alone, for malformed JSON, nesting of more
// than 64 levels, a key given twice (at the top level) or anything but an object.
absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text);

// Reads and parses a file of at most 64 MiB; errors name it. NOT_FOUND when there is none.
absl::StatusOr<nlohmann::json> ReadJsonObject(const std::string& path);

// INVALID_ARGUMENT, naming it, for a value that is no object and for a key that is none of `known`:
// misspelt, it would be a default that nobody asked for.
absl::Status CheckKeys(const nlohmann::json& object, const std::set<std::string>& known);

// Fields of an object. An absent or null field leaves `value` as it is. INVALID_ARGUMENT, naming
// the key, when it is of another type, or not finite, or does not fit.
absl::Status GetField(const nlohmann::json& object, const char* key, int64_t& value);
absl::Status GetField(const nlohmann::json& object, const char* key, double& value);
absl::Status GetField(const nlohmann::json& object, const char* key, bool& value);
absl::Status GetField(const nlohmann::json& object, const char* key, std::string& value);

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_JSON_H_
