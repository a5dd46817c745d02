// What mma.cuh builds on: on Hopper, a chain of mma.sync and one of wgmma give the same bits,
// whatever wgmma's N is.

#include <cuda_bf16.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/mma.cuh"
#include "tests/kernels/cuda/device_buffer.h"

namespace sieve::cuda {
namespace {

constexpr int kRows = 64, kColumns = 64;

// c[64, 64] = a[64, depth] b[64, depth]^T, a warp for 16 rows.
__global__ void MmaChain(const __nv_bfloat16* a, const __nv_bfloat16* b, float* c, int depth) {
  const int first = threadIdx.x / 32 * 16, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const auto pair = [depth](const __nv_bfloat16* m, int row, int k) {
    return *reinterpret_cast<const uint32_t*>(m + row * depth + k);
  };
  for (int n = 0; n < kColumns; n += 8) {
    float sums[4] = {};
    for (int k = 2 * t; k < depth; k += 16) {
      const uint32_t fragment[4] = {pair(a, first + g, k), pair(a, first + g + 8, k),
                                    pair(a, first + g, k + 8), pair(a, first + g + 8, k + 8)};
      Mma<__nv_bfloat16>(sums, fragment, pair(b, n + g, k), pair(b, n + g, k + 8));
    }
    for (int i = 0; i < 4; ++i) {
      c[(first + g + i / 2 * 8) * kColumns + n + 2 * t + i % 2] = sums[i];
    }
  }
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// A matrix of 16 columns in shared memory, as 8x8 core matrices without a swizzle: its descriptor.
__device__ uint64_t Describe(const __nv_bfloat16* matrix) {
  constexpr uint64_t kNextInK = 128, kNextInRows = 256;  // bytes between core matrices
  return (SharedAddress(matrix) & 0x3ffff) >> 4 | kNextInK >> 4 << 16 | kNextInRows >> 4 << 32;
}

template <int kN>
__device__ void Wgmma(float (&c)[kN / 2], uint64_t a, uint64_t b) {
  if constexpr (kN == 8) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0,%1,%2,%3},%4,%5,1,1,1,0,0;"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "l"(a), "l"(b));
  } else {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,"
        "%11,%12,%13,%14,%15},%16,%17,1,1,1,0,0;"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]),
          "+f"(c[7]), "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]),
          "+f"(c[14]), "+f"(c[15])
        : "l"(a), "l"(b));
  }
}

#endif

// The same with wgmma, kN columns at a time, by one warpgroup.
template <int kN>
__global__ void WgmmaChain(const __nv_bfloat16* a, const __nv_bfloat16* b, float* c, int depth) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  __shared__ alignas(128) __nv_bfloat16 shared_a[kRows * 16], shared_b[kN * 16];
  const auto core = [](int row, int k) { return (row / 8 * 2 + k / 8) * 64 + row % 8 * 8 + k % 8; };
  for (int n = 0; n < kColumns; n += kN) {
    float sums[kN / 2] = {};
    for (int k = 0; k < depth; k += 16) {
      __syncthreads();
      for (int i = threadIdx.x; i < kRows * 16; i += 128) {
        shared_a[core(i / 16, i % 16)] = a[i / 16 * depth + k + i % 16];
      }
      for (int i = threadIdx.x; i < kN * 16; i += 128) {
        shared_b[core(i / 16, i % 16)] = b[(n + i / 16) * depth + k + i % 16];
      }
      asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
      __syncthreads();
      asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
      Wgmma<kN>(sums, Describe(shared_a), Describe(shared_b));
      asm volatile(
          "wgmma.commit_group.sync.aligned;\n"
          "wgmma.wait_group.sync.aligned 0;" ::
              : "memory");
    }
    const int row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    for (int i = 0; i < kN / 2; ++i) {
      c[(row + i / 2 % 2 * 8) * kColumns + n + i / 4 * 8 + 2 * t + i % 2] = sums[i];
    }
  }
#endif
}

class CudaSumOrderTest : public testing::TestWithParam<int> {};

TEST_P(CudaSumOrderTest, MmaAndWgmmaAgree) {
  cudaDeviceProp device;
  Check(cudaGetDeviceProperties(&device, 0));
  if (device.major != 9) GTEST_SKIP() << device.name << " has no wgmma";
  const int depth = GetParam();
  std::mt19937 random(depth);
  std::normal_distribution<float> normal;
  // Exponents that differ little, and very much.
  for (const float spread : {0.0f, 8.0f}) {
    std::vector<float> a(kRows * depth), b(kColumns * depth);
    for (float& x : a) x = normal(random) * std::exp2(spread * normal(random));
    for (float& x : b) x = normal(random);
    const DeviceBuffer<char> device_a(Encode(a, DType::kBF16)), device_b(Encode(b, DType::kBF16));
    const auto* left = reinterpret_cast<const __nv_bfloat16*>(device_a.get());
    const auto* right = reinterpret_cast<const __nv_bfloat16*>(device_b.get());
    const DeviceBuffer<float> mma(kRows * kColumns), narrow(kRows * kColumns),
        wide(kRows * kColumns);
    MmaChain<<<1, 128>>>(left, right, mma.get(), depth);
    WgmmaChain<8><<<1, 128>>>(left, right, narrow.get(), depth);
    WgmmaChain<32><<<1, 128>>>(left, right, wide.get(), depth);
    Check(cudaGetLastError());
    const std::vector<float> expected = mma.Read();
    EXPECT_FALSE(std::isnan(expected[0]));
    EXPECT_EQ(std::memcmp(expected.data(), narrow.Read().data(), expected.size() * 4), 0);
    EXPECT_EQ(std::memcmp(expected.data(), wide.Read().data(), expected.size() * 4), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Depths, CudaSumOrderTest, testing::Values(16, 64, 2048, 8192));

}  // namespace
}  // namespace sieve::cuda
