#ifndef SIEVE_KERNELS_COMPRESSED_ATTENTION_AVX2_H_
#define SIEVE_KERNELS_COMPRESSED_ATTENTION_AVX2_H_

#include "kernels/compressed_attention_params.h"

namespace sieve {

// CompressedAttention with AVX2. REQUIRES: HasAvx2(), head_dim is a multiple of 8.
void CompressedAttentionAvx2(const CompressedAttentionParams& params, float* scratch);

}  // namespace sieve

#endif  // SIEVE_KERNELS_COMPRESSED_ATTENTION_AVX2_H_
