#include "model/checkpoint/ggml_types.h"

#include <array>

#include "absl/strings/str_cat.h"

namespace sieve {
namespace {

// By number; null where a number is not in use (any more).
constexpr std::array<const char*, 42> kNames = {
    "f32",     "f16",   "q4_0",   "q4_1",  nullptr, nullptr,  "q5_0",  "q5_1",    "q8_0",
    "q8_1",    "q2_k",  "q3_k",   "q4_k",  "q5_k",  "q6_k",   "q8_k",  "iq2_xxs", "iq2_xs",
    "iq3_xxs", "iq1_s", "iq4_nl", "iq3_s", "iq2_s", "iq4_xs", "i8",    "i16",     "i32",
    "i64",     "f64",   "iq1_m",  "bf16",  nullptr, nullptr,  nullptr, "tq1_0",   "tq2_0",
    nullptr,   nullptr, nullptr,  "mxfp4", "nvfp4", nullptr};

}  // namespace

uint32_t GgmlTypeOf(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return 0;
    case DType::kF16:
      return 1;
    case DType::kBF16:
      return 30;
    case DType::kQ8_0:
      return 8;
    case DType::kQ4_0:
      return 2;
    case DType::kQ4_1:
      return 3;
    case DType::kQ5_0:
      return 6;
    case DType::kQ5_1:
      return 7;
    case DType::kQ4_K:
      return 12;
    case DType::kQ5_K:
      return 13;
    case DType::kQ6_K:
      return 14;
  }
  return 0;
}

std::optional<DType> DTypeOfGgmlType(uint32_t type) {
  for (int i = 0; i < kNumDTypes; ++i) {
    const DType dtype = static_cast<DType>(i);
    if (GgmlTypeOf(dtype) == type) return dtype;
  }
  return std::nullopt;
}

std::string GgmlTypeName(uint32_t type) {
  if (type < kNames.size() && kNames[type] != nullptr) return kNames[type];
  return absl::StrCat("number ", type);
}

}  // namespace sieve
