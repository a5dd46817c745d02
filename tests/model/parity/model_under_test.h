#ifndef SIEVE_TESTS_MODEL_PARITY_MODEL_UNDER_TEST_H_
#define SIEVE_TESTS_MODEL_PARITY_MODEL_UNDER_TEST_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "model/config.h"
#include "model/transformer.h"
#include "model/weights.h"

namespace sieve {

// A transformer that computes in float32, with room for so many sequences of so many tokens. Which
// one, the source file decides that a test is built with.
absl::StatusOr<std::unique_ptr<Transformer>> MakeModelUnderTest(const ModelConfig& config,
                                                                const LlamaWeights& weights,
                                                                int64_t max_sequences,
                                                                int64_t max_tokens);

}  // namespace sieve

#endif  // SIEVE_TESTS_MODEL_PARITY_MODEL_UNDER_TEST_H_
