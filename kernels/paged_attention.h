#ifndef SIEVE_KERNELS_PAGED_ATTENTION_H_
#define SIEVE_KERNELS_PAGED_ATTENTION_H_

#include <cstdint>

#include "kernels/paged_attention_params.h"

namespace sieve {

// Writes one token's key and value of one head, [head_dim] floats each, rounded to the view's type.
void WriteKv(const PagedKvView& view, int64_t page, int64_t head, int64_t slot, const float* key,
             const float* value);

// Floats of scratch for one call with up to `tokens` tokens and `heads` query heads.
int64_t PagedAttentionScratchFloats(int64_t tokens, int64_t heads, int64_t head_dim);

// Single-threaded. Each (token, head) is computed in one order whatever else is in the call.
// `scratch` is 32-byte aligned.
void PagedAttention(const PagedAttentionParams& params, float* scratch);

// The specification: two passes, in double.
void PagedAttentionReference(const PagedAttentionParams& params, float* scratch);

}  // namespace sieve

#endif  // SIEVE_KERNELS_PAGED_ATTENTION_H_
