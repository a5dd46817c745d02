// The kernels for Hopper give the bits of the portable one, and write nothing else.

#include "kernels/cuda/hopper_matmul.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <tuple>

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/hopper_plan.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/portable_matmul.h"
#include "kernels/cuda/rope.h"
#include "kernels/cuda/this_chip.h"
#include "tests/kernels/cuda/device_buffer.h"

namespace sieve::cuda {
namespace {

struct Shape {
  int64_t tokens, outputs, inputs;
};

constexpr int64_t kGuard = 1024;  // elements after a result, which are to stay

class HopperTest : public testing::TestWithParam<std::tuple<DType, Shape>> {
 protected:
  void SetUp() override {
    if (!ThisChip().is_hopper()) GTEST_SKIP() << "no Hopper device";
  }
};

class HopperMatMulTest : public HopperTest {};

TEST_P(HopperMatMulTest, HasTheBitsOfThePortableKernel) {
  const auto [dtype, shape] = GetParam();
  const DeviceBuffer<char> weights(EncodeWeights(
      RandomValues(shape.outputs * shape.inputs, dtype, 1), dtype, shape.outputs, shape.inputs)),
      x(Encode(RandomValues(shape.tokens * shape.inputs, dtype, 2), dtype));
  const DeviceBuffer<float> bias(RandomValues(shape.outputs, DType::kF32, 3));
  const std::vector<float> before =
      RandomValues(shape.tokens * shape.outputs + kGuard, DType::kF32, 4);
  for (const bool accumulate : {false, true}) {
    for (const bool with_bias : {false, true}) {
      const auto run = [&](cudaError_t (*matmul)(const MatMulParams&, cudaStream_t)) {
        const DeviceBuffer<float> y(before);
        Check(matmul({.weights = weights.get(),
                      .x = x.get(),
                      .bias = with_bias ? bias.get() : nullptr,
                      .y = y.get(),
                      .dtype = dtype,
                      .num_tokens = shape.tokens,
                      .outputs = shape.outputs,
                      .inputs = shape.inputs,
                      .accumulate = accumulate},
                     nullptr));
        return y.Read();
      };
      const std::vector<float> want = run(PortableMatMul), got = run(HopperMatMul);
      ASSERT_EQ(std::memcmp(got.data(), want.data(), want.size() * 4), 0)
          << accumulate << with_bias;
    }
  }
}

class HopperSubnormalsTest : public HopperTest {};

// The copy engine's additions flush none of them to zero: not the sum of a chain, not what it is
// added to. All values are whole multiples of 2^-140, so that every sum is exact.
TEST_P(HopperSubnormalsTest, AreAddedLikeOthers) {
  const auto [dtype, shape] = GetParam();
  const auto whole = [](std::vector<float> values, float scale, float unit) {
    for (float& value : values) value = std::round(value * scale) * unit;
    return values;
  };
  const DeviceBuffer<char> weights(
      EncodeWeights(whole(RandomValues(shape.outputs * shape.inputs, dtype, 1), 2, 0x1p-70f), dtype,
                    shape.outputs, shape.inputs)),
      x(Encode(whole(RandomValues(shape.tokens * shape.inputs, dtype, 2), 2, 0x1p-70f), dtype));
  const std::vector<float> before =
      whole(RandomValues(shape.tokens * shape.outputs + kGuard, DType::kF32, 4), 300, 0x1p-140f);
  for (const bool accumulate : {false, true}) {
    const auto run = [&](cudaError_t (*matmul)(const MatMulParams&, cudaStream_t)) {
      const DeviceBuffer<float> y(before);
      Check(matmul({.weights = weights.get(),
                    .x = x.get(),
                    .y = y.get(),
                    .dtype = dtype,
                    .num_tokens = shape.tokens,
                    .outputs = shape.outputs,
                    .inputs = shape.inputs,
                    .accumulate = accumulate},
                   nullptr));
      return y.Read();
    };
    const std::vector<float> want = run(PortableMatMul), got = run(HopperMatMul);
    const int64_t subnormal = std::count_if(want.begin(), want.end() - kGuard, [](float value) {
      return std::fpclassify(value) == FP_SUBNORMAL;
    });
    EXPECT_GT(subnormal, shape.tokens * shape.outputs * 9 / 10);
    ASSERT_EQ(std::memcmp(got.data(), want.data(), want.size() * 4), 0) << accumulate;
  }
}

class HopperGatedMatMulTest : public HopperTest {};

// outputs: gates and ups.
TEST_P(HopperGatedMatMulTest, HasTheBitsOfProductAndSwiGlu) {
  const auto [dtype, shape] = GetParam();
  const int64_t inner = shape.outputs / 2;
  const DeviceBuffer<char> weights(EncodeWeights(
      RandomValues(shape.outputs * shape.inputs, dtype, 1), dtype, shape.outputs, shape.inputs)),
      x(Encode(RandomValues(shape.tokens * shape.inputs, dtype, 2), dtype));
  const DeviceBuffer<float> bias(RandomValues(shape.outputs, DType::kF32, 3)),
      gate_up(shape.tokens * shape.outputs);
  for (const bool with_bias : {false, true}) {
    const float* const biases = with_bias ? bias.get() : nullptr;
    const int64_t bytes = (shape.tokens * inner + kGuard) * 2;
    const DeviceBuffer<char> want(bytes), got(bytes);
    Check(PortableMatMul({.weights = weights.get(),
                          .x = x.get(),
                          .bias = biases,
                          .y = gate_up.get(),
                          .dtype = dtype,
                          .num_tokens = shape.tokens,
                          .outputs = shape.outputs,
                          .inputs = shape.inputs},
                         nullptr));
    Check(SwiGlu({.gate_up = gate_up.get(),
                  .out = want.get(),
                  .dtype = dtype,
                  .num_tokens = shape.tokens,
                  .inner = inner},
                 nullptr));
    const GatedMatMulParams params = {.weights = weights.get(),
                                      .x = x.get(),
                                      .bias = biases,
                                      .inner = got.get(),
                                      .gate_up = gate_up.get(),
                                      .dtype = dtype,
                                      .num_tokens = shape.tokens,
                                      .intermediate = inner,
                                      .inputs = shape.inputs};
    Check(GatedMatMul(params, nullptr));
    ASSERT_EQ(want.Read(), got.Read()) << with_bias;
    EXPECT_EQ(GatedMatMulScratchFloats(params) == 0, shape.inputs <= kChainLength);
  }
}

class HopperHeadsTest : public testing::TestWithParam<std::tuple<DType, int64_t, int64_t>> {
 protected:
  void SetUp() override {
    if (!ThisChip().is_hopper()) GTEST_SKIP() << "no Hopper device";
  }
};

TEST_P(HopperHeadsTest, HasTheBitsOfProductAndRope) {
  const auto [dtype, heads, kv_heads] = GetParam();
  constexpr int64_t kTokens = 1100, kInputs = 200, kHeadDim = 64, kHalf = kHeadDim / 2;
  const int64_t outputs = (heads + 2 * kv_heads) * kHeadDim;
  const DeviceBuffer<char> weights(
      EncodeWeights(RandomValues(outputs * kInputs, dtype, 1), dtype, outputs, kInputs)),
      x(Encode(RandomValues(kTokens * kInputs, dtype, 2), dtype));
  const DeviceBuffer<float> bias(RandomValues(outputs, DType::kF32, 3)), y(kTokens * outputs),
      cosines(RandomValues(kTokens * kHalf, DType::kF32, 4)),
      sines(RandomValues(kTokens * kHalf, DType::kF32, 5));
  // Two sequences, whose pages lie apart.
  std::vector<int32_t> positions(kTokens), sequences(kTokens), tables;
  for (int32_t t = 0; t < kTokens; ++t) {
    sequences[t] = t < 500 ? 0 : 10;
    positions[t] = t < 500 ? 100 + t : t - 500;
  }
  for (int32_t page = 0; page < 20; ++page) tables.push_back(19 - page);
  const DeviceBuffer<int32_t> device_positions(positions), device_sequences(sequences),
      device_tables(tables);
  const int64_t head_bytes = 2 * kPageTokens * kHeadDim * 2, cache_bytes = 20 * 8 * head_bytes;
  for (const bool with_bias : {false, true}) {
    const auto run = [&](auto project) {
      const DeviceBuffer<char> q((kTokens * heads * kHeadDim + kGuard) * 2), cache(cache_bytes);
      const MatMulParams product = {.weights = weights.get(),
                                    .x = x.get(),
                                    .bias = with_bias ? bias.get() : nullptr,
                                    .y = y.get(),
                                    .dtype = dtype,
                                    .num_tokens = kTokens,
                                    .outputs = outputs,
                                    .inputs = kInputs};
      const RopeAndStoreParams rope = {
          .qkv = y.get(),
          .cosines = cosines.get(),
          .sines = sines.get(),
          .block_tables = device_tables.get(),
          .block_table_stride = 1,
          .sequences = device_sequences.get(),
          .positions = device_positions.get(),
          .kv = {cache.get(), kv_heads * head_bytes, head_bytes, dtype, kHeadDim},
          .q = q.get(),
          .num_tokens = kTokens,
          .num_heads = heads,
          .num_kv_heads = kv_heads};
      EXPECT_TRUE(HopperHeadsSupport(product, rope));
      project(product, rope);
      return std::pair(q.Read(), cache.Read());
    };
    const auto want = run([](const MatMulParams& product, const RopeAndStoreParams& rope) {
      Check(PortableMatMul(product, nullptr));
      Check(RopeAndStore(rope, nullptr));
    });
    const auto got = run([](const MatMulParams& product, const RopeAndStoreParams& rope) {
      Check(ProjectHeads(product, rope, nullptr));
    });
    EXPECT_EQ(want.first, got.first) << with_bias;
    EXPECT_EQ(want.second, got.second) << with_bias;
  }
}

// Also tiles of which half has no outputs, and queries or keys and values alone.
INSTANTIATE_TEST_SUITE_P(Sweep, HopperHeadsTest,
                         testing::Combine(testing::Values(DType::kBF16, DType::kF16),
                                          testing::Values(0, 3, 8), testing::Values(1, 4)));
INSTANTIATE_TEST_SUITE_P(QueriesAlone, HopperHeadsTest,
                         testing::Combine(testing::Values(DType::kBF16), testing::Values(5),
                                          testing::Values(0)));

std::vector<Shape> Shapes() {
  std::vector<Shape> shapes;
  // Edges of tiles of tokens.
  for (int64_t tokens : {1,  7,   8,   9,   16,  17,  31,  32,  33,  63,   64,
                         65, 127, 128, 129, 255, 256, 257, 300, 513, 2049, 8192}) {
    shapes.push_back({tokens, 208, 576});
  }
  // Of tiles of outputs, whose last 16 rows are not all there; rows that are not 16-byte aligned.
  for (int64_t outputs : {16, 48, 64, 80, 112, 128, 144, 256, 272, 1040, 2048}) {
    shapes.push_back({20, outputs, 256});
    shapes.push_back({300, outputs, 256});
  }
  // Broken steps, and one to three chains.
  for (int64_t inputs : {8, 56, 64, 72, 264, 4096, 4160, 8192, 9216}) {
    shapes.push_back({40, 96, inputs});
    shapes.push_back({270, 96, inputs});
  }
  // More tiles than a device has multiprocessors.
  shapes.push_back({2500, 3072, 128});
  shapes.push_back({100, 33008, 64});
  return shapes;
}

std::vector<Shape> UngatedShapes() {
  std::vector<Shape> shapes = Shapes();
  for (int64_t outputs : {1, 15, 17, 66, 127, 129, 258}) {
    shapes.push_back({20, outputs, 256});
    shapes.push_back({300, outputs, 4160});
  }
  // Two and three chains of a tile that the copy engine stores, as the down product of prompts.
  shapes.push_back({1100, 1040, 8192});
  shapes.push_back({1100, 1040, 4160});
  shapes.push_back({1030, 912, 9216});
  return shapes;
}

// For each tile that a product may be planned with, the shape of least data that is.
std::vector<Shape> ShapesOfEveryPlan(bool is_gated) {
  constexpr int64_t kMultiprocessors = 132;  // of an H100 or H200
  std::map<std::tuple<int, int, bool>, std::pair<int64_t, Shape>> least;
  for (const int64_t inputs : {64, 4160, 6144, 8192}) {
    for (const int64_t outputs : {16, 80, 208, 336, 464, 528, 912, 1040, 1424, 2064, 4240, 16400}) {
      for (int64_t tokens = 3; tokens < 4000; tokens += 1 + tokens / 5) {
        const HopperPlan plan =
            PlanHopperMatMul(tokens, outputs, inputs, kMultiprocessors, !is_gated);
        const int64_t data = (tokens + outputs) * inputs + tokens * outputs;
        auto& best = least
                         .try_emplace({plan.bands, plan.tokens, plan.splits_chains},
                                      std::numeric_limits<int64_t>::max(), Shape{})
                         .first->second;
        if (data < best.first) best = {data, {tokens, outputs, inputs}};
      }
    }
  }
  std::vector<Shape> shapes;
  for (const auto& [plan, best] : least) shapes.push_back(best.second);
  return shapes;
}

// Of the portable kernel: its tiles of tokens, with one chain and with two.
std::vector<Shape> PortableShapes() {
  std::vector<Shape> shapes;
  for (const int64_t tokens : {5, 13, 29, 70, 260}) {
    for (const int64_t inputs : {72, 4168}) shapes.push_back({tokens, 48, inputs});
  }
  return shapes;
}

std::string NameOf(const testing::TestParamInfo<std::tuple<DType, Shape>>& info) {
  const auto& [dtype, shape] = info.param;
  return std::string(InfoOf(dtype).name) + "_" + std::to_string(shape.tokens) + "_" +
         std::to_string(shape.outputs) + "_" + std::to_string(shape.inputs);
}

INSTANTIATE_TEST_SUITE_P(Sweep, HopperMatMulTest,
                         testing::Combine(testing::Values(DType::kBF16, DType::kF16),
                                          testing::ValuesIn(UngatedShapes())),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(Sweep, HopperGatedMatMulTest,
                         testing::Combine(testing::Values(DType::kBF16, DType::kF16),
                                          testing::ValuesIn(Shapes())),
                         NameOf);

// Of tiles that the copy engine stores, with one chain and with two.
INSTANTIATE_TEST_SUITE_P(BulkStores, HopperSubnormalsTest,
                         testing::Combine(testing::Values(DType::kBF16),
                                          testing::Values(Shape{1100, 1040, 448},
                                                          Shape{1100, 1040, 4160})),
                         NameOf);

const auto k16Bits = testing::Values(DType::kBF16, DType::kF16);

// All that is compiled for itself; tests/gpu.sh runs these under compute-sanitizer.
INSTANTIATE_TEST_SUITE_P(EveryKernel, HopperMatMulTest,
                         testing::Combine(k16Bits, testing::ValuesIn(ShapesOfEveryPlan(false))),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(EveryKernel, HopperGatedMatMulTest,
                         testing::Combine(k16Bits, testing::ValuesIn(ShapesOfEveryPlan(true))),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(EveryPortableKernel, HopperMatMulTest,
                         testing::Combine(k16Bits, testing::ValuesIn(PortableShapes())), NameOf);

}  // namespace
}  // namespace sieve::cuda
