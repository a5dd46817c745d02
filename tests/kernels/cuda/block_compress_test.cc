#include "kernels/cuda/block_compress.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <limits>
#include <tuple>

#include "kernels/aligned_buffer.h"
#include "kernels/block_compress.h"
#include "kernels/elementwise.h"
#include "tests/kernels/cuda/sparse_sequence.h"

namespace sieve::cuda {
namespace {

class CudaBlockCompressTest : public testing::TestWithParam<SparseShape> {
 protected:
  // Values of parts whose rows are in the cache's type.
  static std::vector<float> Values(const SummaryLayout& l, const char* summary, int64_t part,
                                   int64_t count) {
    std::vector<float> out(count);
    for (int64_t i = 0; i < count; ++i) out[i] = LoadElement(summary + part, l.dtype, i);
    return out;
  }
  static std::vector<float> Floats(const char* summary, int64_t part, int64_t count) {
    std::vector<float> out(count);
    std::memcpy(out.data(), summary + part, count * sizeof(float));
    return out;
  }

  std::mt19937_64 random_{TestSeed()};
};

TEST_P(CudaBlockCompressTest, AgreesWithTheSpecification) {
  const SparseShape& shape = GetParam();
  const int64_t d = shape.head_dim, half = d / 2, rank = 7, blocks = 3;
  // Where the sum is between two values of the cache's type, they may be a step apart.
  const double most = 2 * Epsilon(shape.dtype) + 2e-5;
  // The last: the adapter's tensors are so large that much is beyond the largest of 16 bits.
  const bool is_half = shape.dtype == DType::kF16;
  const float huge = is_half ? 1e5f : 1, huge_position = is_half ? 1e5f : 3e38f;
  for (const auto& [bits, entries, tilted, max, interleaved, scale, position_scale] :
       {std::tuple<int64_t, int64_t, bool, bool, bool, float, float>  //
        {4, 1, true, false, false, 1, 1},
        {16, 8, true, false, true, 1, 1},
        {4, 2, false, false, false, 1, 1},
        {16, 4, false, true, true, 1, 1},
        {16, 4, false, true, false, huge, huge_position}}) {
    SCOPED_TRACE(testing::Message() << bits << " bits, " << entries << " entries, tensors of "
                                    << scale << ", positions of " << position_scale);
    SparseSequence sequence(random_, shape, AllParts(shape, rank, bits, entries),
                            blocks * kPageTokens + 5);
    const SummaryLayout& l = sequence.layout();
    const int64_t entry_tokens = kPageTokens / entries;
    const auto index = RandomFloats(random_, shape.kv_heads * d * rank, scale);
    const auto gate = RandomFloats(random_, shape.kv_heads * d * 3 * d, 0.1f * scale);
    const auto tilt = RandomFloats(random_, shape.kv_heads * d);
    auto position = RandomFloats(random_, shape.kv_heads * entry_tokens * d, position_scale);
    constexpr float kFinite = std::numeric_limits<float>::max();
    for (float& x : position) x = std::clamp(x, -kFinite, kFinite);
    std::vector<double> frequencies(half);
    for (int64_t i = 0; i < half; ++i) {
      frequencies[i] = static_cast<float>(std::pow(10000.0, -2.0 * i / d));
    }
    std::vector<float> transposed(gate.size());
    for (size_t i = 0; i < gate.size(); ++i) {
      const int64_t head = i / (3 * d * d), row = i / (3 * d) % d, col = i % (3 * d);
      transposed[(head * 3 * d + col) * d + row] = gate[i];
    }
    const DeviceBuffer<float> device_index(index), device_gate(transposed), device_tilt(tilt),
        device_position(position),
        device_frequencies(std::vector<float>(frequencies.begin(), frequencies.end()));
    std::vector<CompletedBlock> completed;
    for (int32_t b = 0; b < blocks; ++b) completed.push_back({sequence.cache().table[b], b});
    const DeviceBuffer<CompletedBlock> device_blocks(completed);
    const DeviceBuffer<SparsePiece> pieces(1);
    const DeviceBuffer<char> device_out(sequence.cache().pages * shape.kv_heads * l.bytes);
    const SummaryView view = {device_out.get(), shape.kv_heads * l.bytes, l.bytes};
    Check(CompressBlocks({.kv = sequence.Batch(pieces, 1, 1, 0, 0).attention.kv,
                          .num_kv_heads = shape.kv_heads,
                          .layout = l,
                          .summaries = view,
                          .blocks = device_blocks.get(),
                          .num_blocks = blocks,
                          .index_k = device_index.get(),
                          .gate_k = device_gate.get(),
                          .frequencies = device_frequencies.get(),
                          .interleaved = interleaved,
                          .tilt = tilted ? device_tilt.get() : nullptr,
                          .keys = {.max = max, .position = device_position.get()},
                          .values = {.max = !max, .position = nullptr}},
                         nullptr));
    const std::vector<char> got = device_out.Read();
    std::vector<char> want(got.size());
    AlignedBuffer scratch;
    ASSERT_TRUE(scratch.Reserve(BlockCompressScratchFloats(l, 0)));
    for (int64_t b = 0; b < blocks; ++b) {
      std::vector<float> cosines(kPageTokens * half), sines = cosines;
      for (int64_t j = 0; j < kPageTokens; ++j) {
        RopeAngles(frequencies.data(), half, b * kPageTokens + j, &cosines[j * half],
                   &sines[j * half]);
      }
      for (int64_t h = 0; h < shape.kv_heads; ++h) {
        const int64_t at = (sequence.cache().table[b] * shape.kv_heads + h) * l.bytes;
        char* const expected = &want[at];
        const char* const actual = &got[at];
        CompressBlockReference({.kv = sequence.cache().view,
                                .page = sequence.cache().table[b],
                                .kv_head = h,
                                .layout = l,
                                .summary = expected,
                                .index_k = &index[h * d * rank],
                                .gate_k = &gate[h * d * 3 * d],
                                .cosines = cosines.data(),
                                .sines = sines.data(),
                                .interleaved = interleaved,
                                .tilt = tilted ? &tilt[h * d] : nullptr,
                                .keys = {.max = max, .position = &position[h * entry_tokens * d]},
                                .values = {.max = !max}},
                               scratch.data());
        const auto compare = [&](const char* what, int64_t part, int64_t count) {
          EXPECT_LT(RelativeError(Values(l, actual, part, count), Values(l, expected, part, count)),
                    most)
              << what;
        };
        compare("mean", l.mean, d);
        EXPECT_EQ(Values(l, actual, l.max, d), Values(l, expected, l.max, d));
        EXPECT_EQ(Values(l, actual, l.min, d), Values(l, expected, l.min, d));
        compare("gate", l.gate, d);
        compare("keys of entries", l.entry_keys, entries * d);
        if (position_scale > 1 && shape.dtype != DType::kF32) {
          EXPECT_THAT(Values(l, actual, l.entry_keys, entries * d),
                      testing::Contains(is_half ? 65504.0f : 0x1.fep127f));
        }
        compare("values of entries", l.entry_values, entries * d);
        if (tilted) {
          EXPECT_LT(RelativeError(Floats(actual, l.entry_biases, entries),
                                  Floats(expected, l.entry_biases, entries)),
                    2e-5);
        }
        if (bits == 16) {
          compare("codes", l.index_codes, rank * kPageTokens);
          continue;
        }
        const auto step = Floats(expected, l.index_step, rank);
        EXPECT_LT(
            RelativeError(Floats(actual, l.index_lo, rank), Floats(expected, l.index_lo, rank)),
            2e-5);
        EXPECT_LT(RelativeError(Floats(actual, l.index_step, rank), step), 2e-5);
        int64_t others = 0;  // where the sum is between two codes
        for (int64_t i = 0; i < rank * kPageTokens / 2; ++i) {
          const int x = static_cast<uint8_t>(actual[l.index_codes + i]);
          const int y = static_cast<uint8_t>(expected[l.index_codes + i]);
          ASSERT_LE(std::abs(x % 16 - y % 16), 1);
          ASSERT_LE(std::abs(x / 16 - y / 16), 1);
          others += x != y;
        }
        EXPECT_LE(others, 2);
      }
    }
    // Blocks that are not complete have none.
    EXPECT_EQ(got[sequence.cache().table[blocks] * shape.kv_heads * l.bytes], '\xff');
  }
}

INSTANTIATE_TEST_SUITE_P(Sweep, CudaBlockCompressTest, testing::ValuesIn(SparseShapes()),
                         [](const auto& info) { return NameOf(info.param); });

}  // namespace
}  // namespace sieve::cuda
