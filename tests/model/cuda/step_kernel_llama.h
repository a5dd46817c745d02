#ifndef SIEVE_TESTS_MODEL_CUDA_STEP_KERNEL_LLAMA_H_
#define SIEVE_TESTS_MODEL_CUDA_STEP_KERNEL_LLAMA_H_

#include "tests/testdata/tiny_llama.h"

namespace sieve {

// A small model whose decoding steps of one or two sequences are one kernel on Hopper.
inline TinyLlamaSpec StepKernelLlama() {
  TinyLlamaSpec spec;
  spec.hidden_size = 192;
  spec.intermediate_size = 448;
  spec.num_layers = 3;
  spec.num_heads = 6;
  spec.num_kv_heads = 2;
  spec.head_dim = 64;
  spec.dtype = DType::kBF16;
  return spec;
}

}  // namespace sieve

#endif  // SIEVE_TESTS_MODEL_CUDA_STEP_KERNEL_LLAMA_H_
