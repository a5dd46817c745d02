#ifndef SIEVE_TRAINER_EVAL_GENERATION_H_
#define SIEVE_TRAINER_EVAL_GENERATION_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "trainer/eval/generate.h"
#include "trainer/eval/variant.h"

namespace sieve {

// The first `limit` (0: all) prompts of a file of JSON lines: "prompt", or the first of "turns" (as
// MT-bench has them). INVALID_ARGUMENT for another format, and the errors of ReadJsonLines.
absl::StatusOr<std::vector<std::string>> ReadPrompts(const std::string& path, int64_t limit);

struct GenerationOptions {
  uint64_t seed = 1;  // of the intervals
  GreedyOptions greedy;
};

// Continues each prompt, through the model's chat format where it has one, with dense attention and
// each variant: {"prompts", "chat_format", "rows": [...], "texts": [...]}. A row has the means over
// texts of tokens, distinct-1, 2 and 3, repeated 4-grams, self-BLEU and, for variants, the tokens
// that begin as the dense text does, each but that one with its paired difference to dense and its
// interval. `model` has variant v in slot v. The errors of GenerateGreedy.
absl::StatusOr<nlohmann::ordered_json> EvaluateGeneration(Transformer* model,
                                                          const Tokenizer& tokenizer,
                                                          absl::Span<const Variant> variants,
                                                          absl::Span<const std::string> prompts,
                                                          const GenerationOptions& options);

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_GENERATION_H_
