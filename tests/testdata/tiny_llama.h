#ifndef SIEVE_TESTS_TESTDATA_TINY_LLAMA_H_
#define SIEVE_TESTS_TESTDATA_TINY_LLAMA_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "kernels/dtype.h"
#include "model/config.h"
#include "tests/testdata/tiny_vocabulary.h"

namespace sieve {

// A random Llama. The weights depend on seed and shape alone, not on the format: a GGUF and a
// Hugging Face folder of one spec in one float type are the same model.
struct TinyLlamaSpec {
  uint64_t seed = 1;
  int64_t hidden_size = 64;
  int64_t intermediate_size = 128;
  int64_t num_layers = 2;
  int64_t num_heads = 4;
  int64_t num_kv_heads = 2;
  int64_t head_dim = 16;
  int64_t vocabulary_size = kTinyTokens;  // rows of the embedding; at least kTinyTokens
  int64_t context_length = 1024;
  double rope_theta = 10000;
  RopeScaling rope_scaling;
  bool tied = true;
  bool attention_bias = false;
  bool mlp_bias = false;
  // Of the matrices (norms and biases too in a folder, F32 in a GGUF). A folder takes kF32, kF16 or
  // kBF16; in a GGUF of a quantised type hidden_size, intermediate_size and num_heads * head_dim
  // must be multiples of its block.
  DType dtype = DType::kF32;
  int num_shards = 1;  // folder only; above 1 with model.safetensors.index.json
};

// Writes config.json, generation_config.json, tokenizer.json, tokenizer_config.json (a ChatML
// template) and the weights into `dir`, which is made when absent.
absl::Status WriteTinyHfFolder(const std::string& dir, const TinyLlamaSpec& spec);

// Writes the same model as one GGUF file.
absl::Status WriteTinyGguf(const std::string& path, const TinyLlamaSpec& spec);

}  // namespace sieve

#endif  // SIEVE_TESTS_TESTDATA_TINY_LLAMA_H_
