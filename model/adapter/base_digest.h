#ifndef SIEVE_MODEL_ADAPTER_BASE_DIGEST_H_
#define SIEVE_MODEL_ADAPTER_BASE_DIGEST_H_

#include <string>

#include "model/config.h"
#include "model/weights.h"

namespace sieve {

// What tells one base model from another: SHA-256, as 64 lower-case hex digits, over the shape and
// constants (not the name, nor the context length, which a user may change) and over each tensor's
// name, type, dimensions and bytes. Of a tensor of more than 64 KiB only 16 evenly spaced places of
// 4 KiB, the first and the last bytes among them, are read, so that a server need not read a whole
// checkpoint before it starts: this finds another model, another fine-tuning or another
// quantisation, which change every tensor, but is no seal against someone who alters weights on
// purpose.
std::string BaseDigest(const ModelConfig& config, const LlamaWeights& weights);

}  // namespace sieve

#endif  // SIEVE_MODEL_ADAPTER_BASE_DIGEST_H_
