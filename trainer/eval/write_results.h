#ifndef SIEVE_TRAINER_EVAL_WRITE_RESULTS_H_
#define SIEVE_TRAINER_EVAL_WRITE_RESULTS_H_

#include <nlohmann/json.hpp>
#include <ostream>
#include <string>

#include "absl/status/status.h"

namespace sieve {

// Where an evaluation's results go. Empty paths: to nowhere.
struct ResultFiles {
  std::string json;
  std::string table;  // as Markdown
};

// Before the evaluation: the folders are there and can be written to. The errors of PrepareFile.
absl::Status PrepareResults(const ResultFiles& files);

// After it. `out` gets the results where they have no file, the tables where only the results have
// one, and what could not be written, for it took hours. The errors of WriteFile.
absl::Status WriteResults(const nlohmann::ordered_json& results, const ResultFiles& files,
                          std::ostream& out);

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_WRITE_RESULTS_H_
