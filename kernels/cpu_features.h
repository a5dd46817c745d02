#ifndef SIEVE_KERNELS_CPU_FEATURES_H_
#define SIEVE_KERNELS_CPU_FEATURES_H_

namespace sieve {

// Whether the processor has AVX2, FMA and F16C (x86-64-v3), which the fast kernels use.
bool HasAvx2();

}  // namespace sieve

#endif  // SIEVE_KERNELS_CPU_FEATURES_H_
