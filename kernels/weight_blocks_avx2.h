#ifndef SIEVE_KERNELS_WEIGHT_BLOCKS_AVX2_H_
#define SIEVE_KERNELS_WEIGHT_BLOCKS_AVX2_H_

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/dtype.h"

// How 32 consecutive weights become four registers of floats, for each storage type whose blocks
// are 32 or fewer values. Included only where AVX2 is enabled; formats as in dequantize.cc.

namespace sieve::avx2 {

struct Weights32 {
  __m256 v[4];
};

inline __m256 BroadcastHalf(const uint8_t* p) {
  uint16_t h;
  std::memcpy(&h, p, sizeof(h));
  return _mm256_cvtph_ps(_mm_set1_epi16(static_cast<int16_t>(h)));
}

inline __m256i ExpandBytes(const uint8_t* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}

// The nibbles of 16 bytes as integers: low ones first.
struct Nibbles32 {
  __m256i v[4];
};

inline Nibbles32 ExpandNibbles(const uint8_t* p) {
  const __m256i mask = _mm256_set1_epi32(0xf);
  const __m256i a = ExpandBytes(p), b = ExpandBytes(p + 8);
  return {{_mm256_and_si256(a, mask), _mm256_and_si256(b, mask), _mm256_srli_epi32(a, 4),
           _mm256_srli_epi32(b, 4)}};
}

// Moves bit i of `high` to bit 4 of value i.
inline void AddFifthBits(uint32_t high, Nibbles32& q) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i sixteen = _mm256_set1_epi32(16);
  for (int i = 0; i < 4; ++i) {
    const __m256i bits = _mm256_set1_epi32(static_cast<int>(high >> (8 * i) & 0xff));
    const __m256i bit = _mm256_slli_epi32(_mm256_srlv_epi32(bits, lanes), 4);
    q.v[i] = _mm256_or_si256(q.v[i], _mm256_and_si256(bit, sixteen));
  }
}

// scale * (q - zero), exact products rounded once.
inline Weights32 ScaleCentred(const Nibbles32& q, __m256 scale, int zero) {
  const __m256i z = _mm256_set1_epi32(zero);
  Weights32 w;
  for (int i = 0; i < 4; ++i) {
    w.v[i] = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(q.v[i], z)), scale);
  }
  return w;
}

inline Weights32 ScaleShifted(const Nibbles32& q, __m256 scale, __m256 min) {
  Weights32 w;
  for (int i = 0; i < 4; ++i) w.v[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(q.v[i]), scale, min);
  return w;
}

// Where columns k .. k + 31 of a row start.
template <DType kType>
const uint8_t* At(const uint8_t* row, int64_t k) {
  return row + k / 32 * RowBytes(kType, 32);
}

struct F32 {
  static constexpr DType kType = DType::kF32;
  static Weights32 Load(const uint8_t* row, int64_t k) {
    const uint8_t* p = At<kType>(row, k);
    const float* f = reinterpret_cast<const float*>(p);
    return {{_mm256_loadu_ps(f), _mm256_loadu_ps(f + 8), _mm256_loadu_ps(f + 16),
             _mm256_loadu_ps(f + 24)}};
  }
};

struct F16 {
  static constexpr DType kType = DType::kF16;
  static Weights32 Load(const uint8_t* row, int64_t k) {
    const uint8_t* p = At<kType>(row, k);
    Weights32 w;
    for (int i = 0; i < 4; ++i) {
      w.v[i] = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 16 * i)));
    }
    return w;
  }
};

struct BF16 {
  static constexpr DType kType = DType::kBF16;
  static Weights32 Load(const uint8_t* row, int64_t k) {
    const uint8_t* p = At<kType>(row, k);
    Weights32 w;
    for (int i = 0; i < 4; ++i) {
      const __m128i h = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 16 * i));
      w.v[i] = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
    }
    return w;
  }
};

struct Q8_0 {
  static constexpr DType kType = DType::kQ8_0;
  static Weights32 Load(const uint8_t* row, int64_t k) {
    const uint8_t* p = At<kType>(row, k);
    const __m256 scale = BroadcastHalf(p);
    Weights32 w;
    for (int i = 0; i < 4; ++i) {
      const __m128i q = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + 2 + 8 * i));
      w.v[i] = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q)), scale);
    }
    return w;
  }
};

struct Q4_0 {
  static constexpr DType kType = DType::kQ4_0;
  static Weights32 Load(const uint8_t* row, int64_t k) {
    const uint8_t* p = At<kType>(row, k);
    return ScaleCentred(ExpandNibbles(p + 2), BroadcastHalf(p), 8);
  }
};

struct Q4_1 {
  static constexpr DType kType = DType::kQ4_1;
  static Weights32 Load(const uint8_t* row, int64_t k) {
    const uint8_t* p = At<kType>(row, k);
    return ScaleShifted(ExpandNibbles(p + 4), BroadcastHalf(p), BroadcastHalf(p + 2));
  }
};

struct Q5_0 {
  static constexpr DType kType = DType::kQ5_0;
  static Weights32 Load(const uint8_t* row, int64_t k) {
    const uint8_t* p = At<kType>(row, k);
    uint32_t high;
    std::memcpy(&high, p + 2, sizeof(high));
    Nibbles32 q = ExpandNibbles(p + 6);
    AddFifthBits(high, q);
    return ScaleCentred(q, BroadcastHalf(p), 16);
  }
};

struct Q5_1 {
  static constexpr DType kType = DType::kQ5_1;
  static Weights32 Load(const uint8_t* row, int64_t k) {
    const uint8_t* p = At<kType>(row, k);
    uint32_t high;
    std::memcpy(&high, p + 4, sizeof(high));
    Nibbles32 q = ExpandNibbles(p + 8);
    AddFifthBits(high, q);
    return ScaleShifted(q, BroadcastHalf(p), BroadcastHalf(p + 2));
  }
};

}  // namespace sieve::avx2

#endif  // SIEVE_KERNELS_WEIGHT_BLOCKS_AVX2_H_
