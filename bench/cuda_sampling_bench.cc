// Times kernels/cuda/sampling.h: one JSON line for each kind of row and number of rows, medians of
// graph replays. Run it after tests/kernels/cuda:sampling_test, which checks the results.
//
//   cuda_sampling_bench [deviation [kind [rows]]]
//
// deviation: of the normally distributed logits (default 3); kind, rows: only these.

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/cuda/sampling.h"

namespace sieve::cuda {
namespace {

constexpr int64_t kVocabulary = 128256;
constexpr int64_t kMostRows = 256;
constexpr int64_t kCopies = 2;  // of the logits, so that no cache holds those of the next call

void Check(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s\n", cudaGetErrorString(error));
  std::exit(1);
}

template <typename T>
T* Allocate(int64_t count) {
  void* memory;
  Check(cudaMalloc(&memory, count * sizeof(T)));
  return static_cast<T*>(memory);
}

struct Kind {
  const char* name;
  SamplingRow row;
};

std::vector<Kind> Kinds() {
  std::vector<Kind> kinds(7);
  for (Kind& kind : kinds) kind.row.temperature = 1;
  kinds[0].name = "greedy";
  kinds[0].row.temperature = 0;
  kinds[1].name = "temperature";
  kinds[2].name = "min_p_0.05";
  kinds[2].row.min_p = 0.05f;
  kinds[3].name = "top_k_50";
  kinds[3].row.top_k = 50;
  kinds[4].name = "top_p_0.9";
  kinds[4].row.top_p = 0.9f;
  kinds[5].name = "top_k_50_top_p_0.9";
  kinds[5].row.top_k = 50;
  kinds[5].row.top_p = 0.9f;
  kinds[6].name = "greedy_20_logprobs";
  kinds[6].row.temperature = 0;
  kinds[6].row.num_logprobs = 20;
  return kinds;
}

class Bench {
 public:
  explicit Bench(float deviation) : deviation_(deviation) {
    Check(cudaStreamCreate(&stream_));
    Check(cudaGetDeviceProperties(&device_, 0));
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0, deviation);
    std::vector<float> logits(kMostRows * kVocabulary);
    for (float& logit : logits) logit = normal(random);
    logits_ = Allocate<float>(kCopies * logits.size());
    for (int64_t i = 0; i < kCopies; ++i) {
      Check(cudaMemcpy(logits_ + i * logits.size(), logits.data(), logits.size() * sizeof(float),
                       cudaMemcpyHostToDevice));
    }
    rows_ = Allocate<SamplingRow>(kMostRows);
    p_.logits_stride = p_.vocabulary = kVocabulary;
    p_.rows = rows_;
    p_.tokens = Allocate<int32_t>(kMostRows);
    p_.errors = Allocate<SampleError>(kMostRows);
    p_.logprobs = Allocate<float>(kMostRows);
    p_.top_stride = 20;
    p_.top_tokens = Allocate<int32_t>(kMostRows * p_.top_stride);
    p_.top_logprobs = Allocate<float>(kMostRows * p_.top_stride);
  }

  void Run(const Kind& kind, int64_t rows) {
    std::vector<SamplingRow> options(rows, kind.row);
    for (int64_t i = 0; i < rows; ++i) options[i].seed = i;
    Check(cudaMemcpy(rows_, options.data(), rows * sizeof(SamplingRow), cudaMemcpyHostToDevice));
    p_.num_rows = rows;
    std::printf(
        "{\"measurement\":\"sampling\",\"gpu\":\"%s\",\"kind\":\"%s\",\"rows\":%ld,"
        "\"vocabulary\":%ld,\"deviation\":%g,\"us\":%.2f}\n",
        device_.name, kind.name, rows, kVocabulary, deviation_, Time() * 1e6);
  }

 private:
  // Median seconds of a call.
  double Time() {
    constexpr int kCalls = 16, kRepetitions = 21;
    cudaGraph_t graph;
    Check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < kCalls; ++i) {
      // Calls of few rows go through all of the memory.
      const int64_t places = kCopies * kMostRows / p_.num_rows;
      p_.logits =
          logits_ + i * std::max<int64_t>(places / kCalls, 1) % places * p_.num_rows * kVocabulary;
      Check(Sample(p_, stream_));
    }
    Check(cudaStreamEndCapture(stream_, &graph));
    cudaGraphExec_t exec;
    Check(cudaGraphInstantiate(&exec, graph, 0));
    cudaEvent_t begin, end;
    Check(cudaEventCreate(&begin));
    Check(cudaEventCreate(&end));
    std::vector<double> seconds;
    for (int i = 0; i < kRepetitions + 3; ++i) {
      Check(cudaEventRecord(begin, stream_));
      Check(cudaGraphLaunch(exec, stream_));
      Check(cudaEventRecord(end, stream_));
      Check(cudaEventSynchronize(end));
      float ms;
      Check(cudaEventElapsedTime(&ms, begin, end));
      if (i >= 3) seconds.push_back(ms / 1e3 / kCalls);
    }
    Check(cudaEventDestroy(begin));
    Check(cudaEventDestroy(end));
    Check(cudaGraphExecDestroy(exec));
    Check(cudaGraphDestroy(graph));
    std::nth_element(seconds.begin(), seconds.begin() + kRepetitions / 2, seconds.end());
    return seconds[kRepetitions / 2];
  }

  const float deviation_;
  cudaStream_t stream_;
  cudaDeviceProp device_;
  float* logits_;
  SamplingRow* rows_;
  SampleParams p_;
};

}  // namespace
}  // namespace sieve::cuda

int main(int argc, char** argv) {
  sieve::cuda::Bench bench(argc > 1 ? std::atof(argv[1]) : 3);
  for (const sieve::cuda::Kind& kind : sieve::cuda::Kinds()) {
    if (argc > 2 && std::strcmp(argv[2], kind.name) != 0) continue;
    for (const int64_t rows : {1, 8, 32, 128, 256}) {
      if (argc <= 3 || std::atol(argv[3]) == rows) bench.Run(kind, rows);
    }
  }
  return 0;
}
