#include <concepts>

#include "tests/third_party/saxpy.h"

namespace sieve {
namespace {

constexpr int kThreads = 256;

// A concept, so that a toolkit or an option without C++20 is found here.
template <std::floating_point T>
__global__ void SaxpyKernel(int n, T a, const T* x, T* y) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] += a * x[i];
}

}  // namespace

cudaError_t Saxpy(int n, float a, const float* x, float* y, cudaStream_t stream) {
  if (n <= 0) return cudaSuccess;  // a grid of no blocks is an error
  SaxpyKernel<<<(n + kThreads - 1) / kThreads, kThreads, 0, stream>>>(n, a, x, y);
  return cudaGetLastError();
}

}  // namespace sieve
