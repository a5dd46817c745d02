#include "kernels/dequantize.h"

#include <cstring>

#include "kernels/float16.h"

namespace sieve {
namespace {

template <class T>
T Read(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

float ReadHalf(const uint8_t* p) { return HalfToFloat(Read<uint16_t>(p)); }

// f16 scale; 32 signed bytes.
void BlockQ8_0(const uint8_t* b, float* out) {
  const float d = ReadHalf(b);
  for (int j = 0; j < 32; ++j) out[j] = d * static_cast<int8_t>(b[2 + j]);
}

// f16 scale; 16 bytes, low nibbles are the first half. Centred on 8.
void BlockQ4_0(const uint8_t* b, float* out) {
  const float d = ReadHalf(b);
  for (int j = 0; j < 16; ++j) {
    out[j] = d * ((b[2 + j] & 0xf) - 8);
    out[j + 16] = d * ((b[2 + j] >> 4) - 8);
  }
}

// f16 scale and minimum; nibbles as above.
void BlockQ4_1(const uint8_t* b, float* out) {
  const float d = ReadHalf(b), m = ReadHalf(b + 2);
  for (int j = 0; j < 16; ++j) {
    out[j] = d * (b[4 + j] & 0xf) + m;
    out[j + 16] = d * (b[4 + j] >> 4) + m;
  }
}

// f16 scale; 32 high bits; nibbles. Centred on 16.
void BlockQ5_0(const uint8_t* b, float* out) {
  const float d = ReadHalf(b);
  const uint32_t high = Read<uint32_t>(b + 2);
  for (int j = 0; j < 16; ++j) {
    const int low = (b[6 + j] & 0xf) | ((high >> j & 1) << 4);
    const int upper = (b[6 + j] >> 4) | ((high >> (j + 16) & 1) << 4);
    out[j] = d * (low - 16);
    out[j + 16] = d * (upper - 16);
  }
}

void BlockQ5_1(const uint8_t* b, float* out) {
  const float d = ReadHalf(b), m = ReadHalf(b + 2);
  const uint32_t high = Read<uint32_t>(b + 4);
  for (int j = 0; j < 16; ++j) {
    out[j] = d * ((b[8 + j] & 0xf) | ((high >> j & 1) << 4)) + m;
    out[j + 16] = d * ((b[8 + j] >> 4) | ((high >> (j + 16) & 1) << 4)) + m;
  }
}

struct ScaleMin {
  float scale;
  float min;
};

// Eight pairs of 6-bit scales and minima packed into 12 bytes.
ScaleMin UnpackScaleMin(const uint8_t* s, int j) {
  if (j < 4) return {float(s[j] & 63), float(s[j + 4] & 63)};
  return {float((s[j + 4] & 0xf) | (s[j - 4] >> 6 << 4)),
          float((s[j + 4] >> 4) | (s[j] >> 6 << 4))};
}

// f16 d and dmin; 12 bytes of scales; 128 bytes of nibbles. Sub-blocks of 32.
void BlockQ4_K(const uint8_t* b, float* out) {
  const float d = ReadHalf(b), dmin = ReadHalf(b + 2);
  const uint8_t* q = b + 16;
  for (int pair = 0; pair < 4; ++pair, q += 32, out += 64) {
    const ScaleMin low = UnpackScaleMin(b + 4, 2 * pair);
    const ScaleMin high = UnpackScaleMin(b + 4, 2 * pair + 1);
    const float d1 = d * low.scale, m1 = dmin * low.min;
    const float d2 = d * high.scale, m2 = dmin * high.min;
    for (int l = 0; l < 32; ++l) {
      out[l] = d1 * (q[l] & 0xf) - m1;
      out[l + 32] = d2 * (q[l] >> 4) - m2;
    }
  }
}

// As Q4_K, with 32 bytes of high bits: bit s of byte l belongs to value l of sub-block s.
void BlockQ5_K(const uint8_t* b, float* out) {
  const float d = ReadHalf(b), dmin = ReadHalf(b + 2);
  const uint8_t* high_bits = b + 16;
  const uint8_t* q = b + 48;
  for (int pair = 0; pair < 4; ++pair, q += 32, out += 64) {
    const ScaleMin low = UnpackScaleMin(b + 4, 2 * pair);
    const ScaleMin high = UnpackScaleMin(b + 4, 2 * pair + 1);
    const float d1 = d * low.scale, m1 = dmin * low.min;
    const float d2 = d * high.scale, m2 = dmin * high.min;
    for (int l = 0; l < 32; ++l) {
      const int h1 = high_bits[l] >> (2 * pair) & 1, h2 = high_bits[l] >> (2 * pair + 1) & 1;
      out[l] = d1 * ((q[l] & 0xf) + 16 * h1) - m1;
      out[l + 32] = d2 * ((q[l] >> 4) + 16 * h2) - m2;
    }
  }
}

// 128 bytes of low nibbles, 64 of high bit pairs, 16 signed scales, f16 d. Sub-blocks of 16.
void BlockQ6_K(const uint8_t* b, float* out) {
  const uint8_t* low = b;
  const uint8_t* high = b + 128;
  const int8_t* scales = reinterpret_cast<const int8_t*>(b + 192);
  const float d = ReadHalf(b + 208);
  for (int half = 0; half < 2; ++half, low += 64, high += 32, scales += 8, out += 128) {
    for (int l = 0; l < 32; ++l) {
      const int s = l / 16;
      const int q1 = ((low[l] & 0xf) | ((high[l] >> 0 & 3) << 4)) - 32;
      const int q2 = ((low[l + 32] & 0xf) | ((high[l] >> 2 & 3) << 4)) - 32;
      const int q3 = ((low[l] >> 4) | ((high[l] >> 4 & 3) << 4)) - 32;
      const int q4 = ((low[l + 32] >> 4) | ((high[l] >> 6 & 3) << 4)) - 32;
      out[l] = d * scales[s] * q1;
      out[l + 32] = d * scales[s + 2] * q2;
      out[l + 64] = d * scales[s + 4] * q3;
      out[l + 96] = d * scales[s + 6] * q4;
    }
  }
}

template <void (*Block)(const uint8_t*, float*)>
void Blocks(DType dtype, const uint8_t* row, int64_t cols, float* out) {
  const DTypeInfo info = InfoOf(dtype);
  for (int64_t i = 0; i < cols; i += info.elements, row += info.bytes) Block(row, out + i);
}

}  // namespace

void DequantizeRow(DType dtype, const void* row, int64_t cols, float* out) {
  const uint8_t* p = static_cast<const uint8_t*>(row);
  switch (dtype) {
    case DType::kF32:
      std::memcpy(out, p, cols * sizeof(float));
      return;
    case DType::kF16:
      for (int64_t i = 0; i < cols; ++i) out[i] = ReadHalf(p + 2 * i);
      return;
    case DType::kBF16:
      for (int64_t i = 0; i < cols; ++i) out[i] = BFloat16ToFloat(Read<uint16_t>(p + 2 * i));
      return;
    case DType::kQ8_0:
      return Blocks<BlockQ8_0>(dtype, p, cols, out);
    case DType::kQ4_0:
      return Blocks<BlockQ4_0>(dtype, p, cols, out);
    case DType::kQ4_1:
      return Blocks<BlockQ4_1>(dtype, p, cols, out);
    case DType::kQ5_0:
      return Blocks<BlockQ5_0>(dtype, p, cols, out);
    case DType::kQ5_1:
      return Blocks<BlockQ5_1>(dtype, p, cols, out);
    case DType::kQ4_K:
      return Blocks<BlockQ4_K>(dtype, p, cols, out);
    case DType::kQ5_K:
      return Blocks<BlockQ5_K>(dtype, p, cols, out);
    case DType::kQ6_K:
      return Blocks<BlockQ6_K>(dtype, p, cols, out);
  }
}

}  // namespace sieve
