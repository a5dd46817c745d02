#ifndef SIEVE_MODEL_CONFIG_H_
#define SIEVE_MODEL_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace sieve {

// Frequencies of the rotary embedding, as Hugging Face's `rope_scaling` names them.
struct RopeScaling {
  enum class Kind { kNone, kLinear, kLlama3 };
  Kind kind = Kind::kNone;
  double factor = 1;
  double low_freq_factor = 1;           // kLlama3 only
  double high_freq_factor = 4;          // kLlama3 only
  int64_t original_context_length = 0;  // tokens; kLlama3 only
};

// The shape of a Llama-architecture model.
struct ModelConfig {
  std::string name;          // as the checkpoint calls itself, or its file's name
  std::string architecture;  // "llama"
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;  // divides num_heads
  int64_t head_dim = 0;      // even
  int64_t vocabulary_size = 0;
  int64_t context_length = 0;  // tokens
  double rms_norm_epsilon = 1e-5;
  double rope_theta = 10000;
  RopeScaling rope_scaling;
  // What GGUF gives instead of rope_scaling: divisors of the frequencies [head_dim / 2]; else
  // empty.
  std::vector<float> rope_frequency_divisors;
  // True: pairs (2i, 2i+1) rotate together (GGUF's order of the Q and K rows);
  // false: pairs (i, i + head_dim/2) (Hugging Face's).
  bool rope_interleaved = false;
  bool tied_embeddings = false;
};

// INVALID_ARGUMENT, naming the field, for a shape that contradicts itself or is beyond any sensible
// size (so that no product of two fields overflows).
absl::Status ValidateConfig(const ModelConfig& config);

// Angles per position [head_dim / 2] of the rotary embedding, scaling applied
// (`llama3`: Meta's frequency-dependent interpolation, as in transformers' modeling_rope_utils).
std::vector<double> RopeFrequencies(const ModelConfig& config);

}  // namespace sieve

#endif  // SIEVE_MODEL_CONFIG_H_
