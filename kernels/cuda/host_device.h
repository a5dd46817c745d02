#ifndef SIEVE_KERNELS_CUDA_HOST_DEVICE_H_
#define SIEVE_KERNELS_CUDA_HOST_DEVICE_H_

// Before a function that kernels and the host's code call alike.
#ifdef __CUDACC__
#define SIEVE_HOST_DEVICE __host__ __device__
#else
#define SIEVE_HOST_DEVICE
#endif

#endif  // SIEVE_KERNELS_CUDA_HOST_DEVICE_H_
