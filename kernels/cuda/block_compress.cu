#include <algorithm>
#include <cmath>

#include "kernels/cuda/attention_dispatch.cuh"
#include "kernels/cuda/block_compress.h"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/row_math.cuh"
#include "kernels/cuda/this_chip.h"

namespace sieve::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kTokens = kPageTokens;

// A thread block's block and key/value head. Rows are padded, so that threads of different tokens
// meet no bank twice.
template <typename T>
struct Block {
  const BlockCompressParams& p;
  const CompletedBlock place;
  const int kv_head, d, stride;
  char* const summary;
  float* const keys;     // [64, stride]
  float* const values;   // [64, stride]; before they are loaded, the codes of the index
  float* const vector;   // [3 d]
  float* const weights;  // [64]

  __device__ T* Part(int64_t part) const { return reinterpret_cast<T*>(summary + part); }
  __device__ float* Floats(int64_t part) const { return reinterpret_cast<float*>(summary + part); }
};

__device__ __forceinline__ float Exp(float x) { return expf(x); }

// A page's keys or values as floats.
template <typename T>
__device__ void LoadRows(const Block<T>& b, const T* from, float* rows) {
  for (int i = threadIdx.x; i < kTokens * b.d; i += kThreads) {
    const int slot = i / b.d, dim = i % b.d;
    rows[slot * b.stride + dim] = ToFloat(from[PageOffset(slot, dim, b.d, sizeof(T))]);
  }
}

// Channel `dim` of `count` rows, each plus its position's.
__device__ float Pool(bool max, const float* rows, int stride, int count, const float* position,
                      int d, int dim) {
  float pooled = max ? -INFINITY : 0;
  for (int j = 0; j < count; ++j) {
    const float x = rows[j * stride + dim] + (position != nullptr ? position[j * d + dim] : 0.0f);
    pooled = max ? fmaxf(pooled, x) : pooled + x;
  }
  return max ? pooled : pooled / static_cast<float>(count);
}

__device__ float Least(const float* rows, int stride, int dim) {
  float least = INFINITY;
  for (int j = 0; j < kTokens; ++j) least = fminf(least, rows[j * stride + dim]);
  return least;
}

// The block's mean goes to `vector` too.
template <typename T>
__device__ void Statistics(const Block<T>& b) {
  const SummaryLayout& l = b.p.layout;
  for (int i = threadIdx.x; i < b.d; i += kThreads) {
    const float mean = Pool(false, b.keys, b.stride, kTokens, nullptr, b.d, i);
    b.vector[i] = mean;
    if (l.mean >= 0) b.Part(l.mean)[i] = SaturatedFrom<T>(mean);
    if (l.max >= 0) {
      b.Part(l.max)[i] = SaturatedFrom<T>(Pool(true, b.keys, b.stride, kTokens, nullptr, b.d, i));
    }
    if (l.min >= 0) b.Part(l.min)[i] = SaturatedFrom<T>(Least(b.keys, b.stride, i));
  }
}

// By a warp: codes of one channel, two tokens a lane.
template <typename T>
__device__ void Quantize(const Block<T>& b, int channel, float even, float odd) {
  float lo = fminf(even, odd), hi = fmaxf(even, odd);
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    lo = fminf(lo, __shfl_xor_sync(~0u, lo, lanes));
    hi = fmaxf(hi, __shfl_xor_sync(~0u, hi, lanes));
  }
  const float step = __fdiv_rn(hi - lo, 15.0f);
  const auto code = [&](float x) {
    const float steps = step > 0 ? rintf(__fdiv_rn(x - lo, step)) : 0.0f;
    return steps > 0 ? static_cast<unsigned>(fminf(steps, 15.0f)) : 0u;
  };
  const int lane = threadIdx.x % 32;
  uint8_t* const codes =
      reinterpret_cast<uint8_t*>(b.summary + b.p.layout.index_codes) + channel * (kTokens / 2);
  codes[lane] = static_cast<uint8_t>(code(even) | code(odd) << 4);
  if (lane == 0) {
    b.Floats(b.p.layout.index_lo)[channel] = lo;
    b.Floats(b.p.layout.index_step)[channel] = step;
  }
}

// c_j = W_k^T (k_j - mean), channel by channel; the mean is in `vector`.
template <typename T>
__device__ void Index(const Block<T>& b) {
  const SummaryLayout& l = b.p.layout;
  const int rank = static_cast<int>(l.index_rank);
  const float* const w = b.p.index_k + static_cast<int64_t>(b.kv_head) * b.d * rank;
  float* const codes = b.values;  // [rank, 64]
  for (int i = threadIdx.x; i < rank * kTokens; i += kThreads) {
    const int channel = i / kTokens, token = i % kTokens;
    float sum = 0;
    for (int e = 0; e < b.d; ++e) {
      sum = __fmaf_rn(b.keys[token * b.stride + e] - b.vector[e], w[e * rank + channel], sum);
    }
    codes[i] = sum;
  }
  __syncthreads();
  const int lane = threadIdx.x % 32;
  for (int channel = threadIdx.x / 32; channel < rank; channel += kThreads / 32) {
    const float even = codes[channel * kTokens + 2 * lane];
    const float odd = codes[channel * kTokens + 2 * lane + 1];
    if (l.index_bits == 16) {
      T* const to = b.Part(l.index_codes) + channel * kTokens + 2 * lane;
      to[0] = SaturatedFrom<T>(even);
      to[1] = SaturatedFrom<T>(odd);
    } else {
      Quantize(b, channel, even, odd);
    }
  }
}

// The weights of an entry's tokens to `weights`, and its bias.
template <typename T>
__device__ void TiltedWeights(const Block<T>& b, int tokens) {
  const float scale = 1 / sqrtf(static_cast<float>(b.d));
  const float* const tilt = b.p.tilt + b.kv_head * b.d;
  const int j = threadIdx.x, first = j / tokens * tokens;
  float logit = 0, max = -INFINITY, total = 0, tilted = 0;
  if (j < kTokens) {
    for (int i = 0; i < b.d; ++i) {
      logit = __fmaf_rn(tilt[i], b.keys[j * b.stride + i], logit);
    }
    b.weights[j] = logit *= scale;
  }
  __syncthreads();
  if (j < kTokens) {
    for (int c = first; c < first + tokens; ++c) max = fmaxf(max, b.weights[c]);
    for (int c = first; c < first + tokens; ++c) total += Exp(b.weights[c] - max);
    for (int c = first; c < first + tokens; ++c) {
      tilted += Exp(b.weights[c] - max) / total * b.weights[c];
    }
    if (j == first) {
      b.Floats(b.p.layout.entry_biases)[j / tokens] = max + logf(total) - tilted;
    }
  }
  __syncthreads();
  if (j < kTokens) b.weights[j] = Exp(logit - max) / total;
  __syncthreads();
}

template <typename T>
__device__ void Entries(const Block<T>& b) {
  const SummaryLayout& l = b.p.layout;
  const int tokens = kTokens / static_cast<int>(l.entries);
  const bool tilted = b.p.tilt != nullptr, values = l.entry_values >= 0;
  if (tilted) TiltedWeights(b, tokens);
  const auto pool = [&](const EntryPooling& side, const float* rows, int first, int dim) {
    if (!tilted) {
      const float* position = side.position == nullptr
                                  ? nullptr
                                  : side.position + static_cast<int64_t>(b.kv_head) * tokens * b.d;
      return Pool(side.max, rows + first * b.stride, b.stride, tokens, position, b.d, dim);
    }
    float sum = 0;
    for (int j = first; j < first + tokens; ++j) {
      sum = __fmaf_rn(b.weights[j], rows[j * b.stride + dim], sum);
    }
    return sum;
  };
  const int64_t count = l.entries * b.d;
  const auto store = [&](int64_t part, float* pooled, int i, float x) {
    if (pooled == nullptr) {
      b.Part(part)[i] = SaturatedFrom<T>(x);
    } else {
      pooled[(b.kv_head * b.p.num_blocks + blockIdx.x) * count + i] = x;
    }
  };
  for (int i = threadIdx.x; i < count; i += kThreads) {
    const int first = i / b.d * tokens, dim = i % b.d;
    store(l.entry_keys, b.p.pooled_keys, i, pool(b.p.keys, b.keys, first, dim));
    if (values) store(l.entry_values, b.p.pooled_values, i, pool(b.p.values, b.values, first, dim));
  }
}

// The rotation of pair `pair` at a position: cosine and sine.
template <typename T>
__device__ float2 Angle(const Block<T>& b, int position, int pair) {
  float2 angle;
  sincosf(static_cast<float>(position) * b.p.frequencies[pair], &angle.y, &angle.x);
  return angle;
}

// Turns the keys back in place: last.
template <typename T>
__device__ void Gate(const Block<T>& b) {
  const int half = b.d / 2, first_position = b.place.block * kTokens;
  const auto first = [&](int pair) { return b.p.interleaved ? 2 * pair : pair; };
  const auto second = [&](int pair) { return b.p.interleaved ? 2 * pair + 1 : pair + half; };
  for (int i = threadIdx.x; i < kTokens * half; i += kThreads) {
    const int token = i / half, pair = i % half;
    const float2 angle = Angle(b, first_position + token, pair);
    float* const row = b.keys + token * b.stride;
    const float2 back = Rotate(row[first(pair)], row[second(pair)], angle.x, -angle.y);
    row[first(pair)] = back.x;
    row[second(pair)] = back.y;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < b.d; i += kThreads) {
    b.vector[i] = Pool(false, b.keys, b.stride, kTokens, nullptr, b.d, i);
    b.vector[b.d + i] = Pool(true, b.keys, b.stride, kTokens, nullptr, b.d, i);
    b.vector[2 * b.d + i] = Least(b.keys, b.stride, i);
  }
  __syncthreads();
  const float* const w = b.p.gate_k + static_cast<int64_t>(b.kv_head) * 3 * b.d * b.d;
  for (int i = threadIdx.x; i < b.d; i += kThreads) {
    float sum = 0;
    for (int c = 0; c < 3 * b.d; ++c) sum = __fmaf_rn(w[c * b.d + i], b.vector[c], sum);
    b.keys[i] = sum;
  }
  __syncthreads();
  for (int pair = threadIdx.x; pair < half; pair += kThreads) {
    const float2 angle = Angle(b, first_position, pair);
    const float2 turned = Rotate(b.keys[first(pair)], b.keys[second(pair)], angle.x, angle.y);
    b.Part(b.p.layout.gate)[first(pair)] = SaturatedFrom<T>(turned.x);
    b.Part(b.p.layout.gate)[second(pair)] = SaturatedFrom<T>(turned.y);
  }
}

int SharedBytes(int64_t head_dim) {
  return static_cast<int>((2 * kTokens * (head_dim + 1) + 3 * head_dim + kTokens) *
                          static_cast<int64_t>(sizeof(float)));
}

// A thread block a (block, key/value head).
template <typename T>
__global__ void __launch_bounds__(kThreads) CompressKernel(BlockCompressParams p) {
  extern __shared__ __align__(16) float shared[];
  const int d = static_cast<int>(p.kv.head_dim), stride = d + 1, kv_head = blockIdx.y;
  float* const values = shared + kTokens * stride;
  float* const vector = values + kTokens * stride;
  const CompletedBlock place = p.blocks[blockIdx.x];
  const Block<T> b = {
      p,      place,  kv_head,       d, stride, p.summaries.of(place.page, kv_head), shared,
      values, vector, vector + 3 * d};
  const T* const page = reinterpret_cast<const T*>(p.kv.base + place.page * p.kv.page_stride +
                                                   kv_head * p.kv.head_stride);
  LoadRows(b, page, b.keys);
  __syncthreads();
  Statistics(b);
  __syncthreads();
  if (p.layout.index_codes >= 0) {
    Index(b);
    __syncthreads();
  }
  if (p.layout.entries > 0) {
    if (p.layout.entry_values >= 0) LoadRows(b, page + kTokens * d, b.values);
    __syncthreads();
    Entries(b);
    __syncthreads();
  }
  if (p.layout.gate >= 0) Gate(b);
}

}  // namespace

cudaError_t CompressBlocks(const BlockCompressParams& params, cudaStream_t stream) {
  if (params.num_blocks == 0 || params.layout.bytes == 0) return cudaSuccess;
  if (params.kv.head_dim > 256) return cudaErrorInvalidValue;
  return WithElement(params.kv.dtype, [&](auto element) {
    const auto kernel = CompressKernel<decltype(element)>;
    static const cudaError_t allowed =
        AllowShared(kernel, std::min(SharedBytes(256), ThisChip().shared_bytes));
    if (allowed != cudaSuccess) return allowed;
    const dim3 grid(params.num_blocks, params.num_kv_heads);
    kernel<<<grid, kThreads, SharedBytes(params.kv.head_dim), stream>>>(params);
    return cudaGetLastError();
  });
}

}  // namespace sieve::cuda
