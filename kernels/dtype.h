#ifndef SIEVE_KERNELS_DTYPE_H_
#define SIEVE_KERNELS_DTYPE_H_

#include <cstdint>

namespace sieve {

// Storage types of tensors. The quantised ones are blocks along a row, laid out as in GGUF files.
enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ4_K,
  kQ5_K,
  kQ6_K,
};

inline constexpr int kNumDTypes = 11;

// A block is `elements` consecutive values of a row, stored in `bytes` bytes.
struct DTypeInfo {
  const char* name;
  int32_t elements;
  int32_t bytes;
};

// Lower-case names as in GGUF ("q4_1", "bf16").
constexpr DTypeInfo InfoOf(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return {"f32", 1, 4};
    case DType::kF16:
      return {"f16", 1, 2};
    case DType::kBF16:
      return {"bf16", 1, 2};
    case DType::kQ8_0:
      return {"q8_0", 32, 34};
    case DType::kQ4_0:
      return {"q4_0", 32, 18};
    case DType::kQ4_1:
      return {"q4_1", 32, 20};
    case DType::kQ5_0:
      return {"q5_0", 32, 22};
    case DType::kQ5_1:
      return {"q5_1", 32, 24};
    case DType::kQ4_K:
      return {"q4_k", 256, 144};
    case DType::kQ5_K:
      return {"q5_k", 256, 176};
    case DType::kQ6_K:
      return {"q6_k", 256, 210};
  }
  return {"unknown", 1, 1};
}

// Bytes of one row of `cols` values. REQUIRES: cols is a multiple of the block's elements.
constexpr int64_t RowBytes(DType dtype, int64_t cols) {
  const DTypeInfo info = InfoOf(dtype);
  return cols / info.elements * info.bytes;
}

}  // namespace sieve

#endif  // SIEVE_KERNELS_DTYPE_H_
