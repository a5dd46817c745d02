#ifndef SIEVE_KERNELS_CUDA_THIS_CHIP_H_
#define SIEVE_KERNELS_CUDA_THIS_CHIP_H_

#include <cuda_runtime_api.h>

namespace sieve::cuda {

// What launches need to know of the device.
struct Chip {
  int major = 0;  // of its compute capability; 0: there is no device
  int multiprocessors = 0;
  int shared_bytes = 0;  // that a block may have

  // Whether it runs the machine code for sm_90; newer ones run that for sm_80.
  bool is_hopper() const { return major == 9; }
};

// The current device's, as it was at the first call: a process uses one.
inline const Chip& ThisChip() {
  static const Chip chip = [] {
    Chip c;
    int device = 0;
    if (cudaGetDevice(&device) != cudaSuccess) return c;
    cudaDeviceGetAttribute(&c.major, cudaDevAttrComputeCapabilityMajor, device);
    cudaDeviceGetAttribute(&c.multiprocessors, cudaDevAttrMultiProcessorCount, device);
    cudaDeviceGetAttribute(&c.shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    return c;
  }();
  return chip;
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_THIS_CHIP_H_
