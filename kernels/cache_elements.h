#ifndef SIEVE_KERNELS_CACHE_ELEMENTS_H_
#define SIEVE_KERNELS_CACHE_ELEMENTS_H_

#include <cstdint>

#include "kernels/dtype.h"
#include "kernels/float16.h"

namespace sieve {

// Element `index` of an array of kF32, kF16 or kBF16.
inline float LoadElement(const char* base, DType dtype, int64_t index) {
  switch (dtype) {
    case DType::kF16:
      return HalfToFloat(reinterpret_cast<const uint16_t*>(base)[index]);
    case DType::kBF16:
      return BFloat16ToFloat(reinterpret_cast<const uint16_t*>(base)[index]);
    default:
      return reinterpret_cast<const float*>(base)[index];
  }
}

inline void StoreElement(char* base, DType dtype, int64_t index, float value) {
  switch (dtype) {
    case DType::kF16:
      reinterpret_cast<uint16_t*>(base)[index] = FloatToHalf(value);
      return;
    case DType::kBF16:
      reinterpret_cast<uint16_t*>(base)[index] = FloatToBFloat16(value);
      return;
    default:
      reinterpret_cast<float*>(base)[index] = value;
  }
}

}  // namespace sieve

#endif  // SIEVE_KERNELS_CACHE_ELEMENTS_H_
