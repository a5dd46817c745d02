#ifndef SIEVE_KERNELS_PAGED_ATTENTION_AVX2_H_
#define SIEVE_KERNELS_PAGED_ATTENTION_AVX2_H_

#include "kernels/paged_attention_params.h"

namespace sieve {

// PagedAttention with AVX2. REQUIRES: HasAvx2(), head_dim is a multiple of 8.
void PagedAttentionAvx2(const PagedAttentionParams& params, float* scratch);

}  // namespace sieve

#endif  // SIEVE_KERNELS_PAGED_ATTENTION_AVX2_H_
