#ifndef SIEVE_TESTS_FUZZ_MODEL_CHECKS_H_
#define SIEVE_TESTS_FUZZ_MODEL_CHECKS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/tensor_view.h"
#include "model/checkpoint/llama_weights.h"
#include "model/config.h"
#include "model/tokenizer/vocabulary.h"

namespace sieve {

// What holds for whatever the readers of model/ make of any file.

// A refusal of a file: of this code, with a message fit to be read.
void CheckRefusal(const absl::Status& status, absl::StatusCode code);

// The views are aligned, every byte can be read, and together they have at most `file_bytes`.
void CheckTensors(const TensorMap& tensors, int64_t file_bytes);

// The shape is one that the transformer can compute with.
void CheckConfig(const ModelConfig& config);

// The vocabulary is refused by the tokenizer, or encodes texts to ids in range, which stand for the
// same bytes where every byte has a token; a chat has the special tokens of its format alone.
void CheckVocabulary(const Vocabulary& vocabulary);

}  // namespace sieve

#endif  // SIEVE_TESTS_FUZZ_MODEL_CHECKS_H_
