#ifndef SIEVE_MODEL_CHECKPOINT_CHECKPOINT_H_
#define SIEVE_MODEL_CHECKPOINT_CHECKPOINT_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/config.h"
#include "model/tokenizer/vocabulary.h"
#include "model/weights.h"

namespace sieve {

// A model: shape, weights (views into mapped files, or into memory of its own) and vocabulary.
// Immutable; the views live as long as it does.
class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  virtual const ModelConfig& config() const = 0;
  virtual const LlamaWeights& weights() const = 0;
  virtual const Vocabulary& vocabulary() const = 0;
  // Sum of the sizes of the files.
  virtual int64_t file_bytes() const = 0;
};

// Opens a .gguf file, or a Hugging Face folder (config.json, *.safetensors, tokenizer.json), or the
// GGUF or safetensors file in it. Everything is checked: NOT_FOUND when there is no such path,
// INVALID_ARGUMENT (with file, tensor and reason) for anything malformed, inconsistent, truncated
// or unsupported.
absl::StatusOr<std::unique_ptr<Checkpoint>> OpenCheckpoint(const std::string& path);

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_CHECKPOINT_H_
