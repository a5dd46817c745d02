#include "kernels/cuda/elementwise.h"

#include <cmath>

#include "kernels/cuda/rope.h"
#include "kernels/elementwise.h"
#include "tests/kernels/cuda/device_buffer.h"

namespace sieve::cuda {
namespace {

constexpr DType kDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

TEST(CudaElementwiseTest, EmbedCopiesRows) {
  for (const DType dtype : kDTypes) {
    const int64_t vocabulary = 37, hidden = 72;
    const std::vector<float> table = RandomValues(vocabulary * hidden, dtype, 1);
    const std::vector<int32_t> tokens = {4, 0, 36, 4, 17};
    const DeviceBuffer<char> device_table(EncodeWeights(table, dtype, vocabulary, hidden));
    const DeviceBuffer<int32_t> device_tokens(tokens);
    const DeviceBuffer<float> out(tokens.size() * hidden);
    Check(Embed({device_table.get(), dtype, device_tokens.get(), out.get(),
                 static_cast<int64_t>(tokens.size()), hidden},
                nullptr));
    const std::vector<float> got = out.Read();
    for (size_t t = 0; t < tokens.size(); ++t) {
      for (int64_t i = 0; i < hidden; ++i) {
        ASSERT_EQ(got[t * hidden + i], table[tokens[t] * hidden + i]);
      }
    }
  }
}

TEST(CudaElementwiseTest, RmsNormIsTheSpecification) {
  constexpr int64_t kTokens = 3;
  for (const DType dtype : kDTypes) {
    for (const int64_t hidden : {4, 576, 1028, 2048, 2052, 4100}) {
      const std::vector<float> x = RandomValues(kTokens * hidden, DType::kF32, 2);
      const std::vector<float> weight = RandomValues(hidden, DType::kF32, 3);
      const DeviceBuffer<float> device_x(x), device_weight(weight);
      const DeviceBuffer<char> out(kTokens * hidden * InfoOf(dtype).bytes);
      Check(RmsNorm({device_x.get(), device_weight.get(), out.get(), dtype, kTokens, hidden, 1e-5f},
                    nullptr));
      const std::vector<float> got = Decode(out.Read(), dtype);
      std::vector<float> want(hidden);
      for (int64_t t = 0; t < kTokens; ++t) {
        RmsNormReference(&x[t * hidden], weight.data(), 1e-5, hidden, want.data());
        for (int64_t i = 0; i < hidden; ++i) {
          ASSERT_NEAR(got[t * hidden + i], want[i],
                      (Epsilon(dtype) + 1e-6) * std::abs(want[i]) + 1e-7);
        }
      }
    }
  }
}

TEST(CudaElementwiseTest, GatheredRowsAreThoseAskedFor) {
  for (const int64_t width : {4, 36, 2048}) {
    const std::vector<float> from = RandomValues(5 * width, DType::kF32, 6);
    const std::vector<int32_t> rows = {4, 0, 0, 3};
    const DeviceBuffer<float> device_from(from), out(rows.size() * width);
    const DeviceBuffer<int32_t> device_rows(rows);
    Check(GatherRows({device_from.get(), device_rows.get(), out.get(),
                      static_cast<int64_t>(rows.size()), width * 4},
                     nullptr));
    const std::vector<float> got = out.Read();
    for (size_t r = 0; r < rows.size(); ++r) {
      for (int64_t i = 0; i < width; ++i) {
        ASSERT_EQ(got[r * width + i], from[rows[r] * width + i]);
      }
    }
  }
  EXPECT_EQ(GatherRows({nullptr, nullptr, nullptr, 1, 8}, nullptr), cudaErrorInvalidValue);
}

TEST(CudaElementwiseTest, SwiGluIsTheSpecification) {
  for (const DType dtype : kDTypes) {
    const int64_t inner = 304;
    std::vector<float> gate_up = RandomValues(2 * 2 * inner, DType::kF32, 4);
    gate_up[0] = -200;  // exp overflows
    gate_up[1] = 200;
    std::vector<float> interleaved(gate_up.size());
    for (int64_t t = 0; t < 2; ++t) {
      for (int64_t i = 0; i < inner; ++i) {
        interleaved[t * 2 * inner + GateRow(i)] = gate_up[t * 2 * inner + i];
        interleaved[t * 2 * inner + UpRow(i)] = gate_up[t * 2 * inner + inner + i];
      }
    }
    const DeviceBuffer<float> in(interleaved);
    const DeviceBuffer<char> out(2 * inner * InfoOf(dtype).bytes);
    Check(SwiGlu({in.get(), out.get(), dtype, 2, inner}, nullptr));
    const std::vector<float> got = Decode(out.Read(), dtype);
    std::vector<float> want(inner);
    for (int64_t t = 0; t < 2; ++t) {
      const float* gate = &gate_up[t * 2 * inner];
      SwiGluReference(gate, gate + inner, inner, want.data());
      for (int64_t i = 0; i < inner; ++i) {
        ASSERT_NEAR(got[t * inner + i], want[i],
                    (Epsilon(dtype) + 1e-6) * std::abs(want[i]) + 1e-7);
      }
    }
  }
}

class CudaRopeTest : public testing::TestWithParam<std::tuple<DType, bool, int64_t>> {};

TEST_P(CudaRopeTest, RotatesAndStores) {
  const auto [dtype, interleaved, d] = GetParam();
  const int64_t heads = 6, kv_heads = 2, half = d / 2, tokens = 4;
  const std::vector<int32_t> positions = {0, 63, 64, 100000}, sequences = {0, 0, 0, 1};
  const int64_t stride = 1600;
  std::vector<int32_t> tables(2 * stride, -1);
  tables[0] = 3, tables[1] = 1, tables[stride + 100000 / kPageTokens] = 2;
  std::vector<float> frequencies(half);
  for (int64_t i = 0; i < half; ++i) frequencies[i] = std::pow(10000.0f, -2.0f * i / d);
  const std::vector<float> qkv = RandomValues(tokens * (heads + 2 * kv_heads) * d, DType::kF32, 5);

  const DeviceBuffer<int32_t> device_positions(positions), device_sequences(sequences),
      device_tables(tables);
  const DeviceBuffer<float> device_frequencies(frequencies), device_qkv(qkv),
      cosines(tokens * half), sines(tokens * half);
  Check(RopeAngles(
      {device_positions.get(), device_frequencies.get(), cosines.get(), sines.get(), tokens, half},
      nullptr));
  const int64_t bytes = InfoOf(dtype).bytes, head_elements = 2 * kPageTokens * d;
  const DeviceBuffer<char> cache(4 * kv_heads * head_elements * bytes),
      q(tokens * heads * d * bytes);
  RopeAndStoreParams p;
  p.qkv = device_qkv.get();
  p.cosines = cosines.get();
  p.sines = sines.get();
  p.block_tables = device_tables.get();
  p.block_table_stride = stride;
  p.sequences = device_sequences.get();
  p.positions = device_positions.get();
  p.kv = {cache.get(), kv_heads * head_elements * bytes, head_elements * bytes, dtype, d};
  p.q = q.get();
  p.num_tokens = tokens;
  p.num_heads = heads;
  p.num_kv_heads = kv_heads;
  p.interleaved = interleaved;
  Check(RopeAndStore(p, nullptr));

  const std::vector<float> got_q = Decode(q.Read(), dtype), got = Decode(cache.Read(), dtype);
  for (int64_t t = 0; t < tokens; ++t) {
    std::vector<float> want(qkv.begin() + t * (heads + 2 * kv_heads) * d,
                            qkv.begin() + (t + 1) * (heads + 2 * kv_heads) * d);
    std::vector<float> cosine(half), sine(half);
    for (int64_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(positions[t]) * frequencies[i];
      cosine[i] = std::cos(angle);
      sine[i] = std::sin(angle);
    }
    ApplyRope(want.data(), heads + kv_heads, d, cosine.data(), sine.data(), interleaved);
    const int64_t page = tables[sequences[t] * stride + positions[t] / kPageTokens];
    for (int64_t i = 0; i < (heads + 2 * kv_heads) * d; ++i) {
      const int64_t head = i / d, element = i % d;
      const bool value = head >= heads + kv_heads;
      const int64_t kv_head = head - heads - (value ? kv_heads : 0);
      const float x =
          head < heads
              ? got_q[t * heads * d + i]
              : got[(page * kv_heads + kv_head) * head_elements + (value ? kPageTokens * d : 0) +
                    PageOffset(positions[t] % kPageTokens, element, d, bytes)];
      ASSERT_NEAR(x, want[i], Epsilon(dtype) * std::abs(want[i]) + 2e-6) << t << " " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sweep, CudaRopeTest,
                         testing::Combine(testing::ValuesIn(kDTypes), testing::Bool(),
                                          testing::Values(16, 64, 80, 128)));

}  // namespace
}  // namespace sieve::cuda
