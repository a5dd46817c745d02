// Times the CUDA kernels at the shapes of Llama 3.2 1B: one JSON line each, with the fraction of
// the copy bandwidth (or of the tensor cores' rate) that this very run measured. Run it after
// tests/kernels/cuda, which checks the results.
//
//   cuda_kernels_bench [SEQUENCESxCONTEXTxTOKENS...]
//
// With shapes: the copy and attention of these alone, of the last TOKENS of each sequence.

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/cuda/decode_attention.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/prefill_attention.h"
#include "kernels/cuda/weight_tiles.h"

namespace sieve::cuda {
namespace {

constexpr int64_t kHidden = 2048, kInner = 8192, kVocabulary = 128256;
constexpr int64_t kHeads = 32, kKvHeads = 8, kHeadDim = 64;

void Check(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s\n", cudaGetErrorString(error));
  std::exit(1);
}

// Random bits that are finite bf16 values of moderate size.
char* RandomBytes(int64_t bytes) {
  char* memory;
  Check(cudaMalloc(reinterpret_cast<void**>(&memory), bytes));
  std::vector<uint16_t> pattern(std::min<int64_t>(bytes / 2 + 1, 1 << 22));
  uint32_t state = 1;
  for (uint16_t& x : pattern) {
    state = state * 1664525 + 1013904223;
    x = static_cast<uint16_t>((state >> 16 & 0x807f) | (0x3b80 + (state >> 9 & 0x380)));
  }
  for (int64_t at = 0; at < bytes; at += pattern.size() * 2) {
    Check(cudaMemcpy(memory + at, pattern.data(), std::min<int64_t>(bytes - at, pattern.size() * 2),
                     cudaMemcpyHostToDevice));
  }
  return memory;
}

// Median seconds of run(i); i counts up, for rotating among buffers so that no cache holds them.
double Time(cudaStream_t stream, const std::function<void(int)>& run, int repetitions = 21) {
  constexpr int kInner = 8;
  cudaEvent_t begin, end;
  Check(cudaEventCreate(&begin));
  Check(cudaEventCreate(&end));
  int count = 0;
  for (; count < 3; ++count) run(count);
  std::vector<double> seconds;
  for (int r = 0; r < repetitions; ++r) {
    Check(cudaEventRecord(begin, stream));
    for (int i = 0; i < kInner; ++i) run(count++);
    Check(cudaEventRecord(end, stream));
    Check(cudaEventSynchronize(end));
    float ms;
    Check(cudaEventElapsedTime(&ms, begin, end));
    seconds.push_back(ms / 1e3 / kInner);
  }
  std::nth_element(seconds.begin(), seconds.begin() + repetitions / 2, seconds.end());
  return seconds[repetitions / 2];
}

class Bench {
 public:
  Bench() {
    Check(cudaStreamCreate(&stream_));
    Check(cudaGetDeviceProperties(&device_, 0));
    int64_t bytes = int64_t{2} << 30;
    char *from = RandomBytes(bytes), *to = RandomBytes(bytes);
    copy_ = 2.0 * bytes / Time(stream_, [&](int) {
              Check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_));
            });
    Check(cudaFree(from));
    Check(cudaFree(to));
    std::printf("{\"measurement\":\"copy\",\"gpu\":\"%s\",\"bytes_per_s\":%.4g}\n", device_.name,
                copy_);
  }

  void MatMuls() {
    ForTokens("qkv", 3072, kHidden, MatMulOf(false));
    ForTokens("o", kHidden, kHidden, MatMulOf(true));
    ForTokens("gate_up", 2 * kInner, kHidden, MatMulOf(false));
    if (const auto p = Gated({.num_tokens = 1, .outputs = 2 * kInner, .inputs = kHidden});
        GatedMatMulScratchFloats(p) == 0) {
      ForTokens("gated", 2 * kInner, kHidden,
                [this](const MatMulParams& p) { Check(GatedMatMul(Gated(p), stream_)); });
    }
    ForTokens("down", kHidden, kInner, MatMulOf(true));
    ForTokens("head", kVocabulary, kHidden, MatMulOf(false));
  }

  // `tokens` last tokens of each sequence: 1 decodes.
  void Attention(int64_t sequences, int64_t context, int64_t tokens) {
    const int64_t pages = sequences * context / kPageTokens;
    const int64_t page_bytes = kKvHeads * 2 * kPageTokens * kHeadDim * 2;
    const int copies =
        static_cast<int>(std::max<int64_t>(1, (int64_t{512} << 20) / (pages * page_bytes)));
    char* cache = RandomBytes(copies * pages * page_bytes);
    std::vector<int32_t> tables(pages);
    std::iota(tables.begin(), tables.end(), 0);
    std::vector<AttentionTile> tiles;
    const int64_t most =
        tokens == 1 ? 1 : PrefillTileTokens(DType::kBF16, kHeadDim, kHeads / kKvHeads);
    for (int64_t done = 0; done < tokens; done += most) {
      for (int64_t s = 0; s < sequences; ++s) {
        tiles.push_back({static_cast<int32_t>(s), static_cast<int32_t>(s * tokens + done),
                         static_cast<int32_t>(std::min(most, tokens - done)),
                         static_cast<int32_t>(context - tokens + done)});
      }
    }
    char *q = RandomBytes(sequences * tokens * kHeads * kHeadDim * 2),
         *out = RandomBytes(sequences * tokens * kHeads * kHeadDim * 2),
         *device_tables = RandomBytes(tables.size() * 4),
         *device_tiles = RandomBytes(tiles.size() * sizeof(AttentionTile));
    const int64_t splits = (context + kSplitTokens - 1) / kSplitTokens;
    char* partials = RandomBytes(4 * DecodePartialFloats(sequences, kHeads, kHeadDim, splits));
    Check(cudaMemcpy(device_tables, tables.data(), tables.size() * 4, cudaMemcpyHostToDevice));
    Check(cudaMemcpy(device_tiles, tiles.data(), tiles.size() * sizeof(AttentionTile),
                     cudaMemcpyHostToDevice));
    PagedAttentionParams p;
    p.q = q;
    p.out = out;
    p.tiles = reinterpret_cast<AttentionTile*>(device_tiles);
    p.num_tiles = tiles.size();
    p.block_tables = reinterpret_cast<int32_t*>(device_tables);
    p.block_table_stride = context / kPageTokens;
    p.num_heads = kHeads;
    p.num_kv_heads = kKvHeads;
    p.scale = 0.125f;
    p.may_read_ahead = tokens == 1;
    const double seconds = Time(
        stream_,
        [&](int i) {
          p.kv = {cache + i % copies * pages * page_bytes, page_bytes,
                  2 * kPageTokens * kHeadDim * 2, DType::kBF16, kHeadDim};
          Check(tokens == 1
                    ? DecodeAttention(p, splits, reinterpret_cast<float*>(partials), stream_)
                    : PrefillAttention(p, stream_));
        },
        tokens == 1 ? 21 : 5);
    const double bytes = 1.0 * pages * page_bytes;
    const double pairs = 1.0 * sequences * tokens * (context - (tokens - 1) / 2.0);
    std::printf(
        "{\"measurement\":\"attention\",\"gpu\":\"%s\",\"sequences\":%ld,\"context\":%ld,"
        "\"tokens\":%ld,\"us\":%.2f,"
        "\"bytes_per_s\":%.3g,\"of_copy\":%.3f,\"tflops\":%.1f}\n",
        device_.name, sequences, context, tokens, seconds * 1e6, bytes / seconds,
        bytes / seconds / copy_, pairs * kHeads * kHeadDim * 4 / seconds / 1e12);
    for (char* memory : {cache, q, out, device_tables, device_tiles, partials})
      Check(cudaFree(memory));
  }

 private:
  using Launch = std::function<void(const MatMulParams&)>;

  // accumulate: onto y, as to the residual stream.
  Launch MatMulOf(bool accumulate) {
    return [this, accumulate](MatMulParams p) {
      p.accumulate = accumulate;
      Check(MatMul(p, stream_));
    };
  }

  static GatedMatMulParams Gated(const MatMulParams& p) {
    return {.weights = p.weights,
            .x = p.x,
            .inner = p.y,
            .dtype = p.dtype,
            .num_tokens = p.num_tokens,
            .intermediate = p.outputs / 2,
            .inputs = p.inputs};
  }

  void ForTokens(const char* shape, int64_t outputs, int64_t inputs, const Launch& launch) {
    const int64_t bytes = TiledElements(outputs, inputs) * 2;
    const int copies = static_cast<int>(std::max<int64_t>(1, (int64_t{512} << 20) / bytes));
    char* weights = RandomBytes(bytes * copies);
    for (const int64_t tokens : {1, 8, 16, 32, 64, 128, 256, 512, 2048, 8192}) {
      if (tokens > 256 && outputs == kVocabulary) continue;
      char* x = RandomBytes(tokens * inputs * 2);
      char* y = RandomBytes(tokens * outputs * 4);
      MatMulParams p;
      p.x = x;
      p.y = reinterpret_cast<float*>(y);
      p.outputs = outputs;
      p.inputs = inputs;
      p.num_tokens = tokens;
      const double seconds = Time(stream_, [&](int i) {
        p.weights = weights + i % copies * bytes;
        launch(p);
      });
      const double flops = 2.0 * tokens * outputs * inputs;
      std::printf(
          "{\"measurement\":\"matmul\",\"gpu\":\"%s\",\"shape\":\"%s\",\"tokens\":%ld,"
          "\"us\":%.2f,\"tflops\":%.1f,\"weight_bytes_per_s\":%.3g,\"of_copy\":%.3f}\n",
          device_.name, shape, tokens, seconds * 1e6, flops / seconds / 1e12, bytes / seconds,
          bytes / seconds / copy_);
      Check(cudaFree(x));
      Check(cudaFree(y));
    }
    Check(cudaFree(weights));
  }

  cudaStream_t stream_;
  cudaDeviceProp device_;
  double copy_;  // bytes a second, reads and writes
};

}  // namespace
}  // namespace sieve::cuda

int main(int argc, char** argv) {
  struct Shape {
    int64_t sequences, context, tokens;
  };
  std::vector<Shape> shapes;
  for (int i = 1; i < argc; ++i) {
    Shape& shape = shapes.emplace_back();
    if (std::sscanf(argv[i], "%ldx%ldx%ld", &shape.sequences, &shape.context, &shape.tokens) != 3 ||
        std::min(shape.sequences, shape.tokens) < 1 || shape.context < shape.tokens ||
        shape.context % sieve::cuda::kPageTokens != 0) {
      std::fprintf(stderr, "%s: expected SEQUENCESxCONTEXTxTOKENS, of contexts of whole pages\n",
                   argv[i]);
      return 1;
    }
  }
  sieve::cuda::Bench bench;
  if (shapes.empty()) {
    bench.MatMuls();
    shapes = {{1, 1024, 1},  {1, 8192, 1},   {1, 131072, 1}, {128, 1024, 1},
              {32, 8192, 1}, {32, 32768, 1}, {8, 131072, 1}};
    for (const int64_t context : {1024, 2048, 4096, 8192, 16384, 32768}) {
      shapes.push_back({1, context, context});
    }
  }
  for (const Shape& shape : shapes) bench.Attention(shape.sequences, shape.context, shape.tokens);
  return 0;
}
