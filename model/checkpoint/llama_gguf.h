#ifndef SIEVE_MODEL_CHECKPOINT_LLAMA_GGUF_H_
#define SIEVE_MODEL_CHECKPOINT_LLAMA_GGUF_H_

#include "absl/status/statusor.h"
#include "model/checkpoint/gguf.h"
#include "model/config.h"

namespace sieve {

// The shape of the Llama in a GGUF file, from its "llama.*" metadata; the vocabulary's size is the
// embedding's rows. INVALID_ARGUMENT with file, key and reason; other architectures, rope types and
// experts are refused by name.
absl::StatusOr<ModelConfig> ReadGgufConfig(const GgufFile& file);

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_LLAMA_GGUF_H_
