#ifndef SIEVE_KERNELS_CUDA_SAMPLING_ROW_CUH_
#define SIEVE_KERNELS_CUDA_SAMPLING_ROW_CUH_

#include <cstdint>
#include <limits>

#include "kernels/cuda/sampling_team.cuh"

namespace sieve::cuda {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
inline constexpr int32_t kNoToken = std::numeric_limits<int32_t>::max();

// Logits on their way from memory, in shared memory: as a step of sampling does little with each,
// many must be under way.
struct LogitRing {
  static constexpr int kStages = 4;
  static constexpr int kVectors = 2;  // a thread's, of a stage
  float4 slots[kStages][kVectors][kSampleThreads];
};

__device__ __forceinline__ void CopyAsync(float4* to, const float* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(to))),
               "l"(from));
}

// A row of logits and this block's part of it: the tokens are divided among the team's warps, in
// order of their ids.
class LogitRow {
 public:
  __device__ LogitRow(float* logits, int32_t vocabulary, const Team& team, LogitRing* ring)
      : logits_(logits),
        ring_(ring),
        vocabulary_(vocabulary),
        vectors_(vocabulary % 4 == 0 && reinterpret_cast<uintptr_t>(logits) % 16 == 0) {
    constexpr int kMultiple = 128;  // float4 times a warp
    const int warps = team.size() * kSampleWarps;
    warp_tokens_ = ((vocabulary + warps - 1) / warps + kMultiple - 1) / kMultiple * kMultiple;
    first_warp_ = team.rank() * kSampleWarps;
  }

  // The first token of a warp of this block, or of the next block.
  __device__ int32_t Begin(int warp) const {
    const int64_t begin = static_cast<int64_t>(first_warp_ + warp) * warp_tokens_;
    return begin < vocabulary_ ? begin : vocabulary_;
  }
  __device__ bool Owns(int32_t token) const {
    return token >= Begin(0) && token < Begin(kSampleWarps);
  }
  // Read where all blocks see what was written. A thread's own block writes.
  __device__ float operator[](int32_t token) const { return __ldcg(logits_ + token); }
  __device__ void Set(int32_t token, float logit) const { logits_[token] = logit; }

  // visit(four logits, id of the first) for this block's part: aligned fours of consecutive tokens,
  // filled up at the row's end with -infinity or, `repeat`, with the first of the four. A thread's
  // tokens come in order of their ids, or `backwards`, roughly: every other pass, for its beginning
  // is what the cache still holds.
  template <bool repeat = false, typename F>
  __device__ void ForEach4(bool backwards, F visit) const {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int32_t begin = Begin(warp) + 4 * lane, end = Begin(warp + 1);
    if (!vectors_) return VisitSlowly<repeat>(begin, end, visit);
    constexpr int kStages = LogitRing::kStages, kVectors = LogitRing::kVectors;
    constexpr int kTokens = kVectors * 128;  // of a warp at a time
    const int32_t groups = (end - Begin(warp) + kTokens - 1) / kTokens;
    const auto first = [&](int32_t group) {
      return begin + (backwards ? groups - 1 - group : group) * kTokens;
    };
    const auto fetch = [&](int32_t group) {
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {
        const int32_t at = first(group) + 128 * i;
        if (group < groups && at < end) {
          CopyAsync(&ring_->slots[group % kStages][i][threadIdx.x], logits_ + at);
        }
      }
      asm volatile("cp.async.commit_group;");
    };
    for (int32_t group = 0; group < kStages - 1; ++group) fetch(group);
#pragma unroll 1
    for (int32_t group = 0; group < groups; ++group) {
      fetch(group + kStages - 1);
      asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 1) : "memory");
      float4 v[kVectors];  // a thread reads what it copied itself
#pragma unroll
      for (int i = 0; i < kVectors; ++i) v[i] = ring_->slots[group % kStages][i][threadIdx.x];
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {
        if (first(group) + 128 * i < end) visit(v[i], first(group) + 128 * i);
      }
    }
  }

 private:
  template <bool repeat, typename F>
  __device__ void VisitSlowly(int32_t begin, int32_t end, F visit) const {
#pragma unroll 1
    for (int32_t i = begin; i < end; i += 128) {
      float4 v;
      v.x = (*this)[i];
      const float fill = repeat ? v.x : -kInfinity;
      v.y = i + 1 < end ? (*this)[i + 1] : fill;
      v.z = i + 2 < end ? (*this)[i + 2] : fill;
      v.w = i + 3 < end ? (*this)[i + 3] : fill;
      visit(v, i);
    }
  }

  float* logits_;
  LogitRing* ring_;
  int32_t vocabulary_;
  bool vectors_;  // whether it is made of aligned float4s
  int32_t warp_tokens_;
  int first_warp_;
};

// Where a token stands among the others: the larger logit first, then the lower id.
struct Rank {
  float logit = -kInfinity;
  int32_t token = -1;

  // Whether a token is this one or a better one. The default keeps all but those of -infinity.
  __device__ bool Keeps(float other_logit, int32_t other) const {
    return other_logit > logit || (other_logit == logit && other <= token);
  }
};

// Ranks as integers: the better the larger.
__device__ __forceinline__ uint64_t CodeOf(float logit, int32_t token) {
  const int32_t bits = __float_as_int(__fadd_rn(logit, 0.0f));  // -0 becomes 0
  const uint32_t key = bits ^ (bits >> 31 | static_cast<int32_t>(0x80000000));
  return static_cast<uint64_t>(key) << 32 | ~static_cast<uint32_t>(token);
}

__device__ __forceinline__ Rank RankOf(uint64_t code) {
  const int32_t key = static_cast<int32_t>(code >> 32);
  return {__int_as_float(key < 0 ? key ^ static_cast<int32_t>(0x80000000) : ~key),
          static_cast<int32_t>(~static_cast<uint32_t>(code))};
}

__device__ __forceinline__ float Largest(const float4& v) {
  return fmaxf(fmaxf(v.x, v.y), fmaxf(v.z, v.w));
}

struct RowExtremes {
  float largest = -kInfinity;
  int32_t token = kNoToken;  // the first of the largest; none when all are -infinity
  float smallest = kInfinity;
  float not_finite = 0;  // NaN when there is an infinity or a NaN
};

__device__ __noinline__ inline RowExtremes Extremes(LogitRow row, Team* team) {
  RowExtremes mine;
  row.ForEach4<true>(false, [&](const float4& v, int32_t token) {
    const float largest = Largest(v);
    if (largest > mine.largest) {
      mine.largest = largest;
      mine.token = token + (v.x == largest ? 0 : v.y == largest ? 1 : v.z == largest ? 2 : 3);
    }
    mine.smallest = fminf(mine.smallest, fminf(fminf(v.x, v.y), fminf(v.z, v.w)));
    mine.not_finite = __fmaf_rn(v.x, 0.0f, mine.not_finite);
    mine.not_finite = __fmaf_rn(v.y, 0.0f, mine.not_finite);
    mine.not_finite = __fmaf_rn(v.z, 0.0f, mine.not_finite);
    mine.not_finite = __fmaf_rn(v.w, 0.0f, mine.not_finite);
  });
  return team->Reduce(mine, [](const RowExtremes& a, const RowExtremes& b) {
    const bool first = a.largest > b.largest || (a.largest == b.largest && a.token < b.token);
    return RowExtremes{first ? a.largest : b.largest, first ? a.token : b.token,
                       fminf(a.smallest, b.smallest), a.not_finite + b.not_finite};
  });
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_SAMPLING_ROW_CUH_
