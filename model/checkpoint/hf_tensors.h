#ifndef SIEVE_MODEL_CHECKPOINT_HF_TENSORS_H_
#define SIEVE_MODEL_CHECKPOINT_HF_TENSORS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/checkpoint/llama_weights.h"
#include "model/checkpoint/safetensors.h"

namespace sieve {

// The weights of a Hugging Face folder.
struct HfTensors {
  std::vector<std::unique_ptr<SafetensorsFile>> files;
  TensorMap tensors;  // views into the files
};

// Opens model.safetensors, or else the shards that model.safetensors.index.json names; a shard must
// be a file of the folder itself. NOT_FOUND when the folder has neither; INVALID_ARGUMENT with
// file, tensor and reason.
absl::StatusOr<HfTensors> OpenHfTensors(const std::string& dir);

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_HF_TENSORS_H_
