// The matrix product of kernels/matmul.h against oneDNN's on the same numbers, one thread, turn
// about. oneDNN gets weights that were expanded to float beforehand, which the product of the
// server expands as it goes. One JSON line a shape.

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "kernels/aligned_buffer.h"
#include "kernels/dequantize.h"
#include "kernels/float16.h"
#include "kernels/matmul.h"

ABSL_FLAG(int, rounds, 7, "of each shape");

namespace sieve {
namespace {

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Q4_1 blocks with random codes and scales near 0.01; enough layers that no cache holds them all.
std::vector<uint8_t> RandomQ41(int64_t bytes, std::mt19937& random) {
  std::vector<uint8_t> out(bytes);
  for (uint8_t& b : out) b = static_cast<uint8_t>(random());
  for (int64_t block = 0; block < bytes; block += InfoOf(DType::kQ4_1).bytes) {
    const uint16_t scale = FloatToHalf(0.01f), min = FloatToHalf(-0.08f);
    std::memcpy(&out[block], &scale, 2);
    std::memcpy(&out[block + 2], &min, 2);
  }
  return out;
}

double Median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + v.size() / 2, v.end());
  return v[v.size() / 2];
}

void Bench(int64_t rows, int64_t cols, int64_t tokens, int rounds) {
  constexpr int64_t kLayers = 30;
  std::mt19937 random(7);
  const int64_t layer_bytes = rows * RowBytes(DType::kQ4_1, cols);
  const std::vector<uint8_t> packed = RandomQ41(kLayers * layer_bytes, random);
  std::vector<float> expanded(kLayers * rows * cols), x(tokens * cols), ours(tokens * rows),
      theirs(tokens * rows);
  DequantizeRow(DType::kQ4_1, packed.data(), kLayers * rows * cols, expanded.data());
  for (float& v : x) v = static_cast<float>(random() % 2001) / 1000.0f - 1;
  AlignedBuffer scratch;
  if (!scratch.Reserve(MatMulScratchFloats(cols))) std::abort();
  std::vector<double> our_seconds, their_seconds;
  for (int round = -1; round < rounds; ++round) {  // the first one warms up
    double start = Seconds();
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      MatMul({.weights = {packed.data() + layer * layer_bytes, DType::kQ4_1, rows, cols},
              .x = x.data(),
              .x_stride = cols,
              .tokens = tokens,
              .y = ours.data(),
              .y_stride = rows,
              .row_end = rows},
             scratch.data());
    }
    const double our = (Seconds() - start) / kLayers;
    start = Seconds();
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      const float* w = expanded.data() + layer * rows * cols;
      dnnl_sgemm('N', 'T', tokens, rows, cols, 1, x.data(), cols, w, cols, 0, theirs.data(), rows);
    }
    const double their = (Seconds() - start) / kLayers;
    if (round >= 0) our_seconds.push_back(our), their_seconds.push_back(their);
  }
  double error = 0, largest = 0;
  for (size_t i = 0; i < ours.size(); ++i) {
    error = std::max<double>(error, std::fabs(ours[i] - theirs[i]));
    largest = std::max<double>(largest, std::fabs(theirs[i]));
  }
  const double flop = 2.0 * static_cast<double>(rows * cols * tokens);
  const double our = Median(our_seconds), their = Median(their_seconds);
  std::cout << nlohmann::json{{"measurement", "matmul"},
                              {"rows", rows},
                              {"cols", cols},
                              {"tokens", tokens},
                              {"sieve_q4_1_us", our * 1e6},
                              {"onednn_f32_us", their * 1e6},
                              {"sieve_gflops", flop / our / 1e9},
                              {"onednn_gflops", flop / their / 1e9},
                              {"speedup", their / our},
                              {"max_relative_difference", error / largest}}
            << std::endl;
}

}  // namespace
}  // namespace sieve

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  omp_set_num_threads(1);
  for (int64_t tokens : {1, 2, 4, 8, 16, 64, 512}) {
    sieve::Bench(1536, 576, tokens, absl::GetFlag(FLAGS_rounds));
  }
  return 0;
}
