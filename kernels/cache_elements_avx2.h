#ifndef SIEVE_KERNELS_CACHE_ELEMENTS_AVX2_H_
#define SIEVE_KERNELS_CACHE_ELEMENTS_AVX2_H_

#include <immintrin.h>

#include <cstdint>

#include "kernels/dtype.h"

namespace sieve::avx2 {

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

inline __m256 Load8(const float* p) { return _mm256_loadu_ps(p); }
inline __m256 Load8(const Half* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline __m256 Load8(const BFloat16* p) {
  const __m128i h = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

// body(T()) with the C++ type of kF32, kF16 or kBF16.
template <class Body>
void WithElementType(DType dtype, Body body) {
  switch (dtype) {
    case DType::kF16:
      return body(Half());
    case DType::kBF16:
      return body(BFloat16());
    default:
      return body(float());
  }
}

}  // namespace sieve::avx2

#endif  // SIEVE_KERNELS_CACHE_ELEMENTS_AVX2_H_
