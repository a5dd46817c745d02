#ifndef SIEVE_TESTS_KERNELS_CUDA_SPARSE_SEQUENCE_H_
#define SIEVE_TESTS_KERNELS_CUDA_SPARSE_SEQUENCE_H_

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/block_summary.h"
#include "kernels/cache_elements.h"
#include "kernels/cuda/sparse_batch.h"
#include "tests/kernels/cached_sequence.h"
#include "tests/kernels/cuda/device_buffer.h"
#include "tests/kernels/random_data.h"

namespace sieve::cuda {

struct SparseShape {
  DType dtype = DType::kBF16;
  int64_t head_dim = 64, kv_heads = 2, group = 4;

  int64_t heads() const { return kv_heads * group; }
  float scale() const { return 1 / std::sqrt(static_cast<float>(head_dim)); }
};

inline std::string NameOf(const SparseShape& s) {
  return std::string(InfoOf(s.dtype).name) + "_" + std::to_string(s.head_dim) + "_" +
         std::to_string(s.group);
}

inline std::vector<SparseShape> SparseShapes() {
  std::vector<SparseShape> shapes;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (const int64_t d : {64, 80, 96, 128}) shapes.push_back({dtype, d, 2, 4});
    for (const int64_t group : {1, 3}) shapes.push_back({dtype, 64, 2, group});
    shapes.push_back({dtype, 64, 1, 16});
  }
  return shapes;
}

// A layout with all parts.
inline SummaryLayout AllParts(const SparseShape& shape, int64_t rank, int64_t bits,
                              int64_t entries) {
  SummaryLayout l = {.dtype = shape.dtype,
                     .head_dim = shape.head_dim,
                     .index_rank = rank,
                     .index_bits = bits,
                     .entries = entries};
  const auto add = [&l](int64_t bytes) {
    const int64_t start = l.bytes;
    l.bytes += (bytes + kSummaryAlignment - 1) / kSummaryAlignment * kSummaryAlignment;
    return start;
  };
  const int64_t row = RowBytes(l.dtype, l.head_dim);
  for (int64_t* part : {&l.mean, &l.max, &l.min, &l.gate}) *part = add(row);
  l.index_lo = add(rank * 4), l.index_step = add(rank * 4);
  l.index_codes = add(bits == 4 ? rank * 32 : RowBytes(l.dtype, rank * 64));
  l.entry_keys = add(entries * row), l.entry_values = add(entries * row);
  l.entry_biases = add(entries * 4);
  return l;
}

// A sequence whose keys, values, random summaries and queries are on the host, in the CPU's order,
// and on the device.
class SparseSequence {
 public:
  SparseSequence(std::mt19937_64& random, const SparseShape& shape, const SummaryLayout& layout,
                 int64_t tokens)
      : shape_(shape),
        layout_(layout),
        tokens_(tokens),
        cache_(random, shape.dtype, shape.kv_heads, shape.head_dim, tokens),
        summaries_(cache_.pages * shape.kv_heads * layout.bytes, static_cast<char>(0xff)),
        q_(tokens * shape.heads() * shape.head_dim) {
    // Few are random, for many would take long.
    const std::vector<float> some =
        Decode(Encode(RandomFloats(random, 300 * shape.heads() * shape.head_dim), shape.dtype),
               shape.dtype);
    for (size_t i = 0; i < q_.size(); ++i) q_[i] = some[i % some.size()];
    for (int64_t b = 0; b < tokens / kPageTokens; ++b) {
      for (int64_t h = 0; h < shape.kv_heads; ++h) {
        FillSummary(random, summaries().of(cache_.table[b], h));
      }
    }
    device_cache_ = std::make_unique<DeviceBuffer<char>>(DevicePages());
    device_summaries_ = std::make_unique<DeviceBuffer<char>>(summaries_);
    device_q_ = std::make_unique<DeviceBuffer<char>>(Encode(q_, shape.dtype));
    device_out_ = std::make_unique<DeviceBuffer<char>>(Encode(q_, shape.dtype).size());
    device_table_ = std::make_unique<DeviceBuffer<int32_t>>(cache_.table);
  }

  // Pieces of at most `most` tokens (a power of two) of positions begin .. end - 1; they are the
  // rows from `first_row` on.
  std::vector<SparsePiece> Pieces(int64_t begin, int64_t end, int64_t most,
                                  int64_t first_row = 0) const {
    std::vector<SparsePiece> pieces;
    for (int64_t t = begin; t < end;) {
      const int64_t next = std::min(end, (t / most + 1) * most);
      pieces.push_back(
          {{0, static_cast<int32_t>(t), static_cast<int32_t>(next - t), static_cast<int32_t>(t)},
           static_cast<int32_t>(first_row + t - begin)});
      t = next;
    }
    return pieces;
  }

  SparseBatch Batch(const DeviceBuffer<SparsePiece>& pieces, int64_t count, int64_t max_tokens,
                    int64_t sink, int64_t window) const {
    SparseBatch batch;
    const int64_t head = 2 * kPageTokens * RowBytes(shape_.dtype, shape_.head_dim);
    batch.attention.kv = {device_cache_->get(), shape_.kv_heads * head, head, shape_.dtype,
                          shape_.head_dim};
    batch.attention.q = device_q_->get();
    batch.attention.out = device_out_->get();
    batch.attention.block_tables = device_table_->get();
    batch.attention.block_table_stride = 1;
    batch.attention.num_heads = shape_.heads();
    batch.attention.num_kv_heads = shape_.kv_heads;
    batch.attention.scale = shape_.scale();
    batch.pieces = pieces.get();
    batch.num_pieces = count;
    batch.max_tokens = max_tokens;
    batch.sink_blocks = sink;
    batch.window_blocks = window;
    return batch;
  }
  SummaryView summaries() {
    return {summaries_.data(), shape_.kv_heads * layout_.bytes, layout_.bytes};
  }
  SummaryView device_summaries() const {
    return {device_summaries_->get(), shape_.kv_heads * layout_.bytes, layout_.bytes};
  }
  std::vector<float> Out() const { return Decode(device_out_->Read(), shape_.dtype); }

  const SparseShape& shape() const { return shape_; }
  const SummaryLayout& layout() const { return layout_; }
  int64_t tokens() const { return tokens_; }
  const CachedSequence& cache() const { return cache_; }
  const float* q(int64_t token, int64_t head) const {
    return &q_[(token * shape_.heads() + head) * shape_.head_dim];
  }

 private:
  void FillSummary(std::mt19937_64& random, char* summary) const {
    const SummaryLayout& l = layout_;
    const auto values = [&](int64_t part, int64_t count) {
      const std::vector<float> x = RandomFloats(random, count);
      for (int64_t i = 0; i < count; ++i) StoreElement(summary + part, l.dtype, i, x[i]);
    };
    const auto floats = [&](int64_t part, int64_t count, float scale) {
      const std::vector<float> x = RandomFloats(random, count, scale);
      std::memcpy(summary + part, x.data(), count * sizeof(float));
    };
    for (const int64_t part : {l.mean, l.max, l.min, l.gate}) values(part, l.head_dim);
    floats(l.index_lo, l.index_rank, 1);
    floats(l.index_step, l.index_rank, 0.1f);
    if (l.index_bits == 16) {
      values(l.index_codes, l.index_rank * kPageTokens);
    } else {
      for (int64_t i = 0; i < l.index_rank * kPageTokens / 2; ++i) {
        summary[l.index_codes + i] = static_cast<char>(random());
      }
    }
    values(l.entry_keys, l.entries * l.head_dim);
    values(l.entry_values, l.entries * l.head_dim);
    floats(l.entry_biases, l.entries, 1);
  }
  // The pages as they lie on the device.
  std::vector<char> DevicePages() const {
    const int64_t d = shape_.head_dim, bytes = InfoOf(shape_.dtype).bytes;
    const int64_t tile = kPageTokens * d * bytes;
    std::vector<char> out(cache_.memory.size());
    for (size_t at = 0; at < out.size(); at += 2 * tile) {
      for (int64_t slot = 0; slot < kPageTokens; ++slot) {
        for (int64_t i = 0; i < d; ++i) {
          const int64_t to = PageOffset(static_cast<int>(slot), static_cast<int>(i),
                                        static_cast<int>(d), static_cast<int>(bytes));
          std::memcpy(&out[at + to * bytes], &cache_.memory[at + (i * kPageTokens + slot) * bytes],
                      bytes);
          std::memcpy(&out[at + tile + to * bytes],
                      &cache_.memory[at + tile + (slot * d + i) * bytes], bytes);
        }
      }
    }
    return out;
  }

  const SparseShape shape_;
  const SummaryLayout layout_;
  const int64_t tokens_;
  CachedSequence cache_;
  std::vector<char> summaries_;
  std::vector<float> q_;
  std::unique_ptr<DeviceBuffer<char>> device_cache_, device_summaries_, device_q_, device_out_;
  std::unique_ptr<DeviceBuffer<int32_t>> device_table_;
};

}  // namespace sieve::cuda

#endif  // SIEVE_TESTS_KERNELS_CUDA_SPARSE_SEQUENCE_H_
