#include "model/cache/geometry.h"
#include "tests/model/parity/model_under_test.h"

namespace sieve {

absl::StatusOr<std::unique_ptr<Transformer>> MakeModelUnderTest(const ModelConfig& config,
                                                                const LlamaWeights& weights,
                                                                int64_t max_sequences,
                                                                int64_t max_tokens) {
  TransformerOptions options;
  options.cache_pages = max_sequences * ((max_tokens + kPageTokens - 1) / kPageTokens);
  options.cache_dtype = DType::kF32;
  return Transformer::Create(config, weights, options);
}

}  // namespace sieve
