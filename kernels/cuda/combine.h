#ifndef SIEVE_KERNELS_CUDA_COMBINE_H_
#define SIEVE_KERNELS_CUDA_COMBINE_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/sparse_batch.h"

namespace sieve::cuda {

// What one of the attention kernels left: [rows, num_heads, max_splits, PartialFloats].
struct PartialSums {
  const float* data = nullptr;  // null: there is no such part
  int64_t max_splits = 1;
};

// Makes one output of the parts, and writes it to batch.attention.out.
struct CombineParams {
  SparseBatch batch;
  PartialSums entries{};    // the compressed branch
  PartialSums chosen{};     // the selected blocks, or all that is read exactly
  PartialSums base{};       // the base set, where it is a part of its own
  bool is_literal = false;  // sigmoid gates; else one softmax
  // [tokens of the step, gamma_cols], of which [gammas_per_head, num_heads] are there; part i's is
  // number i of a head's (entries, chosen, base), 0 where there are less.
  const float* gammas = nullptr;
  int64_t gammas_per_head = 0;
  int64_t gamma_cols = 0;
  // What the logits of all entries of a head have in common: head_bias[h] + scale q . shift[h] +
  // entry_bias.
  const float* head_bias = nullptr;    // [num_heads], or none
  const float* query_shift = nullptr;  // [num_heads, d], or none
  float entry_bias = 0;
};
cudaError_t Combine(const CombineParams& params, cudaStream_t stream);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_COMBINE_H_
