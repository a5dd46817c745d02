#ifndef SIEVE_KERNELS_COMPRESSED_ATTENTION_H_
#define SIEVE_KERNELS_COMPRESSED_ATTENTION_H_

#include <cstdint>

#include "kernels/compressed_attention_params.h"

namespace sieve {

int64_t CompressedAttentionScratchFloats(const SummaryLayout& layout, int64_t group,
                                         int64_t max_blocks);

// Single-threaded. Each head is computed in one order whatever else is in the call. `scratch` is
// 32-byte aligned.
void CompressedAttention(const CompressedAttentionParams& params, float* scratch);

// The specification, in double.
void CompressedAttentionReference(const CompressedAttentionParams& params);

}  // namespace sieve

#endif  // SIEVE_KERNELS_COMPRESSED_ATTENTION_H_
