#ifndef SIEVE_KERNELS_CUDA_WGMMA_CUH_
#define SIEVE_KERNELS_CUDA_WGMMA_CUH_

// Hopper's products of a warpgroup (four warps): operands in shared memory, sums in registers
// (sm_90a).

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace sieve::cuda {

// A warpgroup's threads may use more registers, or need fewer, of those that the block has.
template <int kRegisters>
__device__ __forceinline__ void RaiseRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void LowerRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// Names a matrix in shared memory whose rows are 64 elements of 16 bits (128 bytes), 1024-byte
// aligned, the 16-byte chunks of row r permuted by r % 8: as TMA's 128-byte swizzle leaves it, and
// as weights lie in device memory. Adding 2 moves on by 16 elements of each row.
__device__ __forceinline__ uint64_t SwizzledMatrix(uint32_t shared_address) {
  constexpr uint64_t kEightRows = 1024, kSwizzle128 = uint64_t{1} << 62;
  return kSwizzle128 | kEightRows >> 4 << 32 | uint64_t{1} << 16 | (shared_address & 0x3ffff) >> 4;
}

// Before the first product that reads registers which others wrote.
__device__ __forceinline__ void WgmmaFence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void WgmmaCommit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Waits until at most kPending of the committed groups are under way.
template <int kPending>
__device__ __forceinline__ void WgmmaWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// The compiler, which does not know that products write their sums later, is not to move uses of
// these across.
template <int kCount>
__device__ __forceinline__ void KeepInPlace(float (&sums)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(sums[i])::"memory");
}

// Lists of the operands of one instruction.
#define SIEVE_REGISTERS_8 "%0,%1,%2,%3,%4,%5,%6,%7"
#define SIEVE_REGISTERS_16 SIEVE_REGISTERS_8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define SIEVE_REGISTERS_32 \
  SIEVE_REGISTERS_16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define SIEVE_REGISTERS_64                                                            \
  SIEVE_REGISTERS_32                                                                  \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51," \
  "%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define SIEVE_REGISTERS_128                                                               \
  SIEVE_REGISTERS_64                                                                      \
  ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84," \
  "%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,%96,%97,%98,%99,%100,%101,%102,%103,%104," \
  "%105,%106,%107,%108,%109,%110,%111,%112,%113,%114,%115,%116,%117,%118,%119,%120,%121," \
  "%122,%123,%124,%125,%126,%127"
#define SIEVE_SUMS_4(i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3])
#define SIEVE_SUMS_8(i) SIEVE_SUMS_4(i), SIEVE_SUMS_4(i + 4)
#define SIEVE_SUMS_16(i) SIEVE_SUMS_8(i), SIEVE_SUMS_8(i + 8)
#define SIEVE_SUMS_32(i) SIEVE_SUMS_16(i), SIEVE_SUMS_16(i + 16)
#define SIEVE_SUMS_64(i) SIEVE_SUMS_32(i), SIEVE_SUMS_32(i + 32)
#define SIEVE_SUMS_128(i) SIEVE_SUMS_64(i), SIEVE_SUMS_64(i + 64)
// a and b are numbers of operands, `count` sums come before them.
#define SIEVE_WGMMA(n, type, count, a_at, b_at)                                  \
  asm volatile("wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type   \
               " {" SIEVE_REGISTERS_##count "},%" #a_at ",%" #b_at ",1,1,1,0,0;" \
               : SIEVE_SUMS_##count(0)                                           \
               : "l"(a), "l"(b))
#define SIEVE_WGMMA_OF(type)                                   \
  if constexpr (kN == 16) SIEVE_WGMMA(16, type, 8, 8, 9);      \
  if constexpr (kN == 32) SIEVE_WGMMA(32, type, 16, 16, 17);   \
  if constexpr (kN == 64) SIEVE_WGMMA(64, type, 32, 32, 33);   \
  if constexpr (kN == 128) SIEVE_WGMMA(128, type, 64, 64, 65); \
  if constexpr (kN == 256) SIEVE_WGMMA(256, type, 128, 128, 129)

// c[64, kN] += a[64, 16] b[kN, 16]^T, later. Lane 4 g + t of warp w holds in c[4 j + e] the sum of
// row 16 w + g + e / 2 * 8 and column 8 j + 2 t + e % 2.
template <typename T, int kN>
__device__ __forceinline__ void Wgmma(float (&c)[kN / 2], uint64_t a, uint64_t b) {
  static_assert(kN == 16 || kN == 32 || kN == 64 || kN == 128 || kN == 256);
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    SIEVE_WGMMA_OF("bf16");
  } else {
    static_assert(std::is_same_v<T, __half>);
    SIEVE_WGMMA_OF("f16");
  }
}

#undef SIEVE_WGMMA_OF
#undef SIEVE_WGMMA
#undef SIEVE_SUMS_4
#undef SIEVE_SUMS_8
#undef SIEVE_SUMS_16
#undef SIEVE_SUMS_32
#undef SIEVE_SUMS_64
#undef SIEVE_SUMS_128
#undef SIEVE_REGISTERS_8
#undef SIEVE_REGISTERS_16
#undef SIEVE_REGISTERS_32
#undef SIEVE_REGISTERS_64
#undef SIEVE_REGISTERS_128

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_WGMMA_CUH_
