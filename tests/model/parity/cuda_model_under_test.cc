#include <algorithm>

#include "model/cache/geometry.h"
#include "model/cuda/cuda_transformer.h"
#include "tests/model/parity/model_under_test.h"

namespace sieve {

absl::StatusOr<std::unique_ptr<Transformer>> MakeModelUnderTest(const ModelConfig& config,
                                                                const LlamaWeights& weights,
                                                                int64_t max_sequences,
                                                                int64_t max_tokens) {
  // Tests ask for logits of many rows of one sequence.
  constexpr int64_t kRows = 64;
  return CreateCudaTransformer(
      config, weights,
      {.dtype = DType::kF32,
       .cache_pages = max_sequences * ((max_tokens + kPageTokens - 1) / kPageTokens),
       .max_step_tokens = max_sequences * max_tokens,
       .max_sequences = std::max(kRows, max_sequences),
       .max_context_tokens = max_tokens});
}

}  // namespace sieve
