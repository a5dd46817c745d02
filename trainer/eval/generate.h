#ifndef SIEVE_TRAINER_EVAL_GENERATE_H_
#define SIEVE_TRAINER_EVAL_GENERATE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/tokenizer/tokenizer.h"
#include "model/transformer.h"

namespace sieve {

struct Prompt {
  std::vector<int32_t> tokens;  // at least one
  int32_t adapter_slot = -1;    // -1: dense
};

struct GreedyOptions {
  int64_t max_tokens = 256;                      // to generate
  std::vector<std::string> stop_texts{};         // end a text, and are no part of it; none is empty
  int64_t max_running = 16;                      // sequences of a step
  int64_t max_step_tokens = 512;                 // at least max_running + kPageTokens
  std::function<void(int64_t done)> progress{};  // called when a text ends; may be empty
};

struct Generated {
  std::vector<int32_t> tokens;  // without the end token, with those of a stop text
  std::string text;             // special tokens and the stop text left out
  bool ended = false;           // by an end token or a stop text, not by max_tokens
};

// Continues each prompt with the most probable tokens, many at once, in the order in which they are
// given: steps are batches of whole pages of one prompt and a token of each running sequence, as
// the server's are, and prompts with one slot that begin alike share pages. INVALID_ARGUMENT for a
// prompt that is empty or too long for the model's context, RESOURCE_EXHAUSTED for one that does
// not fit in the cache, the model's errors.
absl::StatusOr<std::vector<Generated>> GenerateGreedy(Transformer* model,
                                                      const Tokenizer& tokenizer,
                                                      absl::Span<const Prompt> prompts,
                                                      const GreedyOptions& options);

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_GENERATE_H_
