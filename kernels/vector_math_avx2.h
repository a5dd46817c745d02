#ifndef SIEVE_KERNELS_VECTOR_MATH_AVX2_H_
#define SIEVE_KERNELS_VECTOR_MATH_AVX2_H_

#include <immintrin.h>

#include <initializer_list>

namespace sieve::avx2 {

// exp(x) within 2 units in the last place; 0 below -87.3, clamped at exp(88.3) above; NaN stays
// NaN. x = n ln2 + r with |r| <= ln2 / 2, a Taylor polynomial of degree 7 in r (its remainder there
// is below 1e-8), and n added to the exponent.
inline __m256 Exp(__m256 x) {
  // The second operand is what min and max return for NaN.
  const __m256 in_range = _mm256_min_ps(_mm256_set1_ps(88.3f), x);
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(in_range, _mm256_set1_ps(1.44269504f)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  // ln2 in two parts, so that n * ln2 is exact in the first.
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), in_range);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
  __m256 p = _mm256_set1_ps(1.0f / 5040);
  for (const float c : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) {
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(c));
  }
  const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
  const __m256 scaled = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
  const __m256 tiny = _mm256_cmp_ps(x, _mm256_set1_ps(-87.3f), _CMP_LT_OQ);
  const __m256 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
  return _mm256_blendv_ps(_mm256_andnot_ps(tiny, scaled), x, nan);
}

// The sum of the eight lanes, in a fixed order.
inline float SumLanes(__m256 v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

}  // namespace sieve::avx2

#endif  // SIEVE_KERNELS_VECTOR_MATH_AVX2_H_
