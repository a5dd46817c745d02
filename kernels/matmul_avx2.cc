#include "kernels/matmul_avx2.h"

#include <algorithm>
#include <cstring>

#include "kernels/dequantize.h"
#include "kernels/vector_math_avx2.h"
#include "kernels/weight_blocks_avx2.h"
#include "kernels/weight_superblocks_avx2.h"

// Every output is one chain of fused multiply-adds in eight lanes: lane i sums k = i, i+8, i+16,
// ... in this order, and the lanes are then added in a fixed order. All tile shapes below compute
// just that, which makes results independent of the batch; many chains at a time hide the latency
// of the additions.

namespace sieve {
namespace {

using avx2::SumLanes;
using avx2::Weights32;

// Up to this many tokens weights are expanded in registers; from there on it pays to expand them
// once into scratch and to read them from the first-level cache.
constexpr int64_t kMaxFusedTokens = 8;

// Up to this many tokens the memory is the limit; beyond, asking for weights early only takes issue
// slots.
constexpr int64_t kMaxPrefetchedTokens = 4;

void Store(const MatMulParams& p, int64_t token, int64_t row, float sum) {
  if (p.bias != nullptr) sum += p.bias[row];
  float& y = p.y[token * p.y_stride + row];
  y = p.accumulate ? y + sum : sum;
}

// Weights of a few tokens come from memory once and at full speed only if they are asked for early:
// short rows, several at a time, do not make the long streams that the processor's own prefetching
// waits for. The distance covers the memory's latency.
template <class Format>
void Prefetch(const uint8_t* row, int64_t k) {
  constexpr int64_t kAhead = 4096;  // bytes
  constexpr DTypeInfo kInfo = InfoOf(Format::kType);
  _mm_prefetch(reinterpret_cast<const char*>(row) + k * kInfo.bytes / kInfo.elements + kAhead,
               _MM_HINT_T0);
}

// Outputs of `Rows` rows at `rows` and `Tokens` tokens, the weights expanded in registers.
template <class Format, int Rows, int Tokens>
void FusedTile(const MatMulParams& p, int64_t row, int64_t token) {
  const uint8_t* w[Rows];
  const float* x[Tokens];
  for (int r = 0; r < Rows; ++r) w[r] = static_cast<const uint8_t*>(p.weights.row(row + r));
  for (int t = 0; t < Tokens; ++t) x[t] = p.x + (token + t) * p.x_stride;
  __m256 sums[Rows][Tokens] = {};
  for (int64_t k = 0; k < p.weights.cols; k += 32) {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const Weights32 expanded = Format::Load(w[r], k);
      if constexpr (Tokens <= kMaxPrefetchedTokens) Prefetch<Format>(w[r], k);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 8
        for (int t = 0; t < Tokens; ++t) {
          sums[r][t] =
              _mm256_fmadd_ps(expanded.v[i], _mm256_loadu_ps(x[t] + k + 8 * i), sums[r][t]);
        }
      }
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int t = 0; t < Tokens; ++t) Store(p, token + t, row + r, SumLanes(sums[r][t]));
  }
}

template <class Format, int Rows, int Tokens>
void FusedRows(const MatMulParams& p) {
  int64_t row = p.row_begin;
  for (; row + Rows <= p.row_end; row += Rows) FusedTile<Format, Rows, Tokens>(p, row, 0);
  for (; row < p.row_end; ++row) FusedTile<Format, 1, Tokens>(p, row, 0);
}

template <class Format>
void Fused(const MatMulParams& p) {
  switch (p.tokens) {
    case 1:
      return FusedRows<Format, 4, 1>(p);
    case 2:
      return FusedRows<Format, 2, 2>(p);
    case 3:
      return FusedRows<Format, 2, 3>(p);
    case 4:
      return FusedRows<Format, 2, 4>(p);
    case 5:
      return FusedRows<Format, 1, 5>(p);
    case 6:
      return FusedRows<Format, 1, 6>(p);
    case 7:
      return FusedRows<Format, 1, 7>(p);
    case 8:
      return FusedRows<Format, 1, 8>(p);
  }
}

template <class Format>
void ExpandRow(const uint8_t* row, int64_t cols, float* out) {
  for (int64_t k = 0; k < cols; k += 32) {
    const Weights32 w = Format::Load(row, k);
    for (int i = 0; i < 4; ++i) _mm256_store_ps(out + k + 8 * i, w.v[i]);
  }
}

// Outputs of `Rows` expanded rows (stride padded_cols) and `Tokens` tokens. Columns past the last
// whole eight are read through a mask: activations are not padded.
template <int Rows, int Tokens>
void ExpandedTile(const MatMulParams& p, const float* w, int64_t padded_cols, int64_t row,
                  int64_t token) {
  const float* x[Tokens];
  for (int t = 0; t < Tokens; ++t) x[t] = p.x + (token + t) * p.x_stride;
  __m256 sums[Rows][Tokens] = {};
  const int64_t cols = p.weights.cols;
  int64_t k = 0;
  for (; k + 8 <= cols; k += 8) {
    __m256 xs[Tokens];
    for (int t = 0; t < Tokens; ++t) xs[t] = _mm256_loadu_ps(x[t] + k);
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      const __m256 wr = _mm256_load_ps(w + r * padded_cols + k);
#pragma GCC unroll 4
      for (int t = 0; t < Tokens; ++t) sums[r][t] = _mm256_fmadd_ps(wr, xs[t], sums[r][t]);
    }
  }
  if (k < cols) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(cols - k)), lanes);
    for (int t = 0; t < Tokens; ++t) {
      const __m256 xt = _mm256_maskload_ps(x[t] + k, mask);
      for (int r = 0; r < Rows; ++r) {
        const __m256 wr = _mm256_load_ps(w + r * padded_cols + k);
        sums[r][t] = _mm256_fmadd_ps(wr, xt, sums[r][t]);
      }
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int t = 0; t < Tokens; ++t) Store(p, token + t, row + r, SumLanes(sums[r][t]));
  }
}

template <int Rows>
void ExpandedTokens(const MatMulParams& p, const float* w, int64_t padded_cols, int64_t row,
                    int64_t token_begin, int64_t token_end) {
  int64_t token = token_begin;
  for (; token + 3 <= token_end; token += 3) {
    ExpandedTile<Rows, 3>(p, w, padded_cols, row, token);
  }
  for (; token < token_end; ++token) ExpandedTile<Rows, 1>(p, w, padded_cols, row, token);
}

using ExpandFn = void (*)(const uint8_t* row, int64_t cols, float* out);

void ExpandedRows(const MatMulParams& p, ExpandFn expand, float* scratch) {
  const int64_t cols = p.weights.cols;
  const int64_t padded = PaddedCols(cols);
  for (int r = 0; r < kMatMulTileRows; ++r) {
    std::memset(scratch + r * padded + cols, 0, (padded - cols) * sizeof(float));
  }
  // Tokens whose activations stay in the second-level cache (256 KiB) while rows pass by.
  const int64_t block = std::max<int64_t>(12, (64 * 1024 / cols) / 3 * 3);
  for (int64_t token = 0; token < p.tokens; token += block) {
    const int64_t token_end = std::min(p.tokens, token + block);
    for (int64_t row = p.row_begin; row < p.row_end; row += kMatMulTileRows) {
      const int64_t rows = std::min<int64_t>(kMatMulTileRows, p.row_end - row);
      for (int64_t r = 0; r < rows; ++r) {
        expand(static_cast<const uint8_t*>(p.weights.row(row + r)), cols, scratch + r * padded);
      }
      if (rows == kMatMulTileRows) {
        ExpandedTokens<kMatMulTileRows>(p, scratch, padded, row, token, token_end);
      } else {
        for (int64_t r = 0; r < rows; ++r) {
          ExpandedTokens<1>(p, scratch + r * padded, padded, row + r, token, token_end);
        }
      }
    }
  }
}

template <DType kType>
void ExpandPlain(const uint8_t* row, int64_t cols, float* out) {
  DequantizeRow(kType, row, cols, out);
}

template <class Format>
void Run(const MatMulParams& p, float* scratch) {
  if (p.weights.cols % 32 != 0) {
    ExpandedRows(p, ExpandPlain<Format::kType>, scratch);
  } else if (p.tokens <= kMaxFusedTokens) {
    Fused<Format>(p);
  } else {
    ExpandedRows(p, ExpandRow<Format>, scratch);
  }
}

}  // namespace

void MatMulAvx2(const MatMulParams& p, float* scratch) {
  switch (p.weights.dtype) {
    case DType::kF32:
      return Run<avx2::F32>(p, scratch);
    case DType::kF16:
      return Run<avx2::F16>(p, scratch);
    case DType::kBF16:
      return Run<avx2::BF16>(p, scratch);
    case DType::kQ8_0:
      return Run<avx2::Q8_0>(p, scratch);
    case DType::kQ4_0:
      return Run<avx2::Q4_0>(p, scratch);
    case DType::kQ4_1:
      return Run<avx2::Q4_1>(p, scratch);
    case DType::kQ5_0:
      return Run<avx2::Q5_0>(p, scratch);
    case DType::kQ5_1:
      return Run<avx2::Q5_1>(p, scratch);
    case DType::kQ4_K:
      return Run<avx2::Q4_K>(p, scratch);
    case DType::kQ5_K:
      return Run<avx2::Q5_K>(p, scratch);
    case DType::kQ6_K:
      return Run<avx2::Q6_K>(p, scratch);
  }
}

}  // namespace sieve
