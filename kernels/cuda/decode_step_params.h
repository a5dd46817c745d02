#ifndef SIEVE_KERNELS_CUDA_DECODE_STEP_PARAMS_H_
#define SIEVE_KERNELS_CUDA_DECODE_STEP_PARAMS_H_

#include <cstdint>

#include "kernels/cuda/paged_kv.h"
#include "kernels/dtype.h"

namespace sieve::cuda {

// A layer's weights: matrices in tiles (weight_tiles.h), gate and up interleaved; a bias or null.
struct DecodeStepLayer {
  const void *qkv = nullptr, *o = nullptr, *gate_up = nullptr, *down = nullptr;
  const float *qkv_bias = nullptr, *o_bias = nullptr, *gate_up_bias = nullptr, *down_bias = nullptr;
  const float *attention_norm = nullptr, *mlp_norm = nullptr;  // [hidden]
};

// What a whole decoding step reads and writes. Device pointers, but for what is plain numbers.
struct DecodeStepParams {
  const DecodeStepLayer* layers = nullptr;  // [num_layers]
  const void* embedding = nullptr;          // [vocabulary, hidden], in tiles
  const void* head = nullptr;               // likewise
  const float* final_norm = nullptr;        // [hidden]
  const float* frequencies = nullptr;       // [head_dim / 2], of the rotation
  DType dtype = DType::kBF16;               // of weights and cache: kF16 or kBF16
  int num_layers = 0;
  int hidden = 0;
  int intermediate = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int vocabulary = 0;
  bool rope_interleaved = false;
  float epsilon = 0;  // of the norms
  float scale = 0;    // of the scores

  int num_tokens = 0;                  // one each of as many sequences
  const int32_t* tokens = nullptr;     // [num_tokens]
  const int32_t* positions = nullptr;  // [num_tokens]
  const int32_t* sequences = nullptr;  // [num_tokens]: whose block table
  const int32_t* block_tables = nullptr;
  int64_t block_table_stride = 0;
  PagedKv kv;                // of layer 0
  int64_t layer_stride = 0;  // bytes from a layer's pages to the next's
  int64_t max_splits = 0;    // that a sequence can have

  float* residual = nullptr;     // [num_tokens, hidden]
  float* qkv = nullptr;          // [num_tokens, (num_heads + 2 num_kv_heads) head_dim]
  void* attention = nullptr;     // [num_tokens, num_heads head_dim], of dtype
  void* inner = nullptr;         // [num_tokens, intermediate], of dtype
  float* partials = nullptr;     // [num_tokens, num_heads, max_splits, head_dim + 2]
  uint32_t* counters = nullptr;  // [2], zero
  float* logits = nullptr;       // [num_tokens, vocabulary]
};

// With more, kernels for each part are faster.
inline constexpr int kMaxDecodeStepTokens = 2;

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_DECODE_STEP_PARAMS_H_
