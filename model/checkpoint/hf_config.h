#ifndef SIEVE_MODEL_CHECKPOINT_HF_CONFIG_H_
#define SIEVE_MODEL_CHECKPOINT_HF_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config.h"

namespace sieve {

// What a Hugging Face config.json says.
struct HfConfig {
  ModelConfig model;
  bool attention_bias = false;  // on q, k, v and o
  bool mlp_bias = false;        // on gate, up and down
};

// Reads a config.json. INVALID_ARGUMENT with file, key and reason for anything but a Llama whose
// every option is supported: other architectures, activations, rope types and quantisation schemes
// are refused by name.
absl::StatusOr<HfConfig> ReadHfConfig(const std::string& path);

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_HF_CONFIG_H_
