#ifndef SIEVE_TRAINER_EVAL_RETRIEVAL_H_
#define SIEVE_TRAINER_EVAL_RETRIEVAL_H_

#include <nlohmann/json.hpp>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "trainer/eval/generate.h"
#include "trainer/eval/retrieval_cases.h"
#include "trainer/eval/variant.h"

namespace sieve {

struct RetrievalTaskOptions {
  uint64_t seed = 1;  // of the intervals
  GreedyOptions greedy;
};

// Tokens that an answer may take.
inline constexpr int64_t kRetrievalTokens = 12;

// Exact recall with dense attention and each variant: {"groups": [...], "cases": [...]}. A group
// has its counts ("too_long": what does not fit in the context, and is left out) and "rows": dense
// first, then each variant paired with it (PairedOutcomesJson), each with "quarters", the recall by
// where the number stands. `model` has variant v in slot v. The errors of GenerateGreedy.
absl::StatusOr<nlohmann::ordered_json> EvaluateRetrieval(Transformer* model,
                                                         const Tokenizer& tokenizer,
                                                         absl::Span<const Variant> variants,
                                                         absl::Span<const RetrievalCase> cases,
                                                         const RetrievalTaskOptions& options);

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_RETRIEVAL_H_
