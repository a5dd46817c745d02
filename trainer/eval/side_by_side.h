#ifndef SIEVE_TRAINER_EVAL_SIDE_BY_SIDE_H_
#define SIEVE_TRAINER_EVAL_SIDE_BY_SIDE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "trainer/eval/generate.h"

namespace sieve {

// Each prompt continued with dense attention and with the adapters in slots 0 … variants-1:
// [variants + 1][prompts], dense first. The errors of GenerateGreedy.
absl::StatusOr<std::vector<std::vector<Generated>>> GenerateSideBySide(
    Transformer* model, const Tokenizer& tokenizer, absl::Span<const std::vector<int32_t>> prompts,
    int64_t variants, const GreedyOptions& options);

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_SIDE_BY_SIDE_H_
