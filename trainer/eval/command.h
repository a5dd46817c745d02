#ifndef SIEVE_TRAINER_EVAL_COMMAND_H_
#define SIEVE_TRAINER_EVAL_COMMAND_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace sieve {

// What `sieve_trainer eval` is asked for; its flags say what each is.
struct EvalConfig {
  std::string task = "perplexity";  // perplexity, retrieval, gsm8k or generation
  std::string through = "engine";   // or, for perplexity, torch
  std::string model;
  std::vector<std::string> adapters;     // see OpenVariants
  std::vector<int64_t> selected_blocks;  // budgets
  std::vector<std::string> texts;
  std::string cache = ".";

  std::string device = "cpu";
  std::string kv_type;
  int threads = 0;
  int64_t cache_mb = 2048;  // at most, for the pages of generations
  int64_t max_running = 16;
  int64_t max_step_tokens = 512;

  int64_t window = 4096;
  int64_t stride = 0;  // 0: the window
  int64_t max_windows = 0;
  int64_t bucket = 0;
  int64_t windows_at_once = 1;

  std::vector<std::string> lines;
  std::vector<int64_t> lengths;
  int64_t cases = 20;

  std::string shots_from;
  int64_t shots = 8;

  int64_t limit = 0;
  int64_t max_tokens = 256;
  uint64_t seed = 1;
  std::vector<std::string> command_line;  // for the record
};

// The results of the task with what they depend on: "task", "through", "model" with its digest,
// "device", versions and the command line. INVALID_ARGUMENT, naming the flag, for what is missing
// or out of range; the errors of the evaluations and of the files.
absl::StatusOr<nlohmann::ordered_json> RunEval(const EvalConfig& config, std::ostream* progress);

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_COMMAND_H_
