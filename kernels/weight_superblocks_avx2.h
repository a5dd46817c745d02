#ifndef SIEVE_KERNELS_WEIGHT_SUPERBLOCKS_AVX2_H_
#define SIEVE_KERNELS_WEIGHT_SUPERBLOCKS_AVX2_H_

#include <immintrin.h>

#include <cstdint>

#include "kernels/dtype.h"
#include "kernels/weight_blocks_avx2.h"

// As weight_blocks_avx2.h, for the types whose blocks are 256 values in eight sub-blocks of 32.

namespace sieve::avx2 {

// Eight pairs of 6-bit scales and minima in 12 bytes; pair j.
struct ScaleMin {
  int scale;
  int min;
};

inline ScaleMin UnpackScaleMin(const uint8_t* s, int64_t j) {
  if (j < 4) return {s[j] & 63, s[j + 4] & 63};
  return {(s[j + 4] & 0xf) | (s[j - 4] >> 6 << 4), (s[j + 4] >> 4) | (s[j] >> 6 << 4)};
}

// (byte >> shift) & mask of 32 bytes, as integers.
inline Nibbles32 ExpandBits(const uint8_t* p, int shift, int mask) {
  const __m128i count = _mm_cvtsi32_si128(shift);
  const __m256i m = _mm256_set1_epi32(mask);
  Nibbles32 q;
  for (int i = 0; i < 4; ++i) {
    q.v[i] = _mm256_and_si256(_mm256_srl_epi32(ExpandBytes(p + 8 * i), count), m);
  }
  return q;
}

// q | (high << 4).
inline void AddHighBits(const Nibbles32& high, Nibbles32& q) {
  for (int i = 0; i < 4; ++i) q.v[i] = _mm256_or_si256(q.v[i], _mm256_slli_epi32(high.v[i], 4));
}

// The f16 pair (d, dmin) at the head of a Q4_K or Q5_K block, times sub-block j's scale and minimum
// (negated).
inline Weights32 ScaleSubBlock(const Nibbles32& q, const uint8_t* block, int64_t j) {
  const ScaleMin pair = UnpackScaleMin(block + 4, j);
  const __m256 scale =
      _mm256_mul_ps(BroadcastHalf(block), _mm256_set1_ps(static_cast<float>(pair.scale)));
  const __m256 min =
      _mm256_mul_ps(BroadcastHalf(block + 2), _mm256_set1_ps(static_cast<float>(-pair.min)));
  return ScaleShifted(q, scale, min);
}

struct Q4_K {
  static constexpr DType kType = DType::kQ4_K;
  static Weights32 Load(const uint8_t* row, int64_t k) {
    const uint8_t* block = row + k / 256 * InfoOf(kType).bytes;
    const int64_t j = k / 32 % 8;
    const Nibbles32 q = ExpandBits(block + 16 + j / 2 * 32, j % 2 * 4, 0xf);
    return ScaleSubBlock(q, block, j);
  }
};

struct Q5_K {
  static constexpr DType kType = DType::kQ5_K;
  static Weights32 Load(const uint8_t* row, int64_t k) {
    const uint8_t* block = row + k / 256 * InfoOf(kType).bytes;
    const int64_t j = k / 32 % 8;
    Nibbles32 q = ExpandBits(block + 48 + j / 2 * 32, j % 2 * 4, 0xf);
    AddHighBits(ExpandBits(block + 16, j, 1), q);
    return ScaleSubBlock(q, block, j);
  }
};

struct Q6_K {
  static constexpr DType kType = DType::kQ6_K;
  static Weights32 Load(const uint8_t* row, int64_t k) {
    const uint8_t* block = row + k / 256 * InfoOf(kType).bytes;
    const int64_t half = k / 128 % 2, part = k / 32 % 4;
    Nibbles32 q = ExpandBits(block + half * 64 + part % 2 * 32, part / 2 * 4, 0xf);
    AddHighBits(ExpandBits(block + 128 + half * 32, part * 2, 3), q);
    const int8_t* scales = reinterpret_cast<const int8_t*>(block + 192) + half * 8 + part * 2;
    const __m256 d = BroadcastHalf(block + 208);
    Weights32 w;
    for (int i = 0; i < 4; ++i) {
      const __m256 scale = _mm256_mul_ps(d, _mm256_set1_ps(static_cast<float>(scales[i / 2])));
      const __m256i centred = _mm256_sub_epi32(q.v[i], _mm256_set1_epi32(32));
      w.v[i] = _mm256_mul_ps(_mm256_cvtepi32_ps(centred), scale);
    }
    return w;
  }
};

}  // namespace sieve::avx2

#endif  // SIEVE_KERNELS_WEIGHT_SUPERBLOCKS_AVX2_H_
