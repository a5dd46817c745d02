#include "trainer/backend.h"

#include <ATen/Context.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <malloc.h>

#include <limits>

#include "absl/strings/str_cat.h"

namespace sieve {

namespace {

// Tensors come and go by the gigabyte: mapping and clearing them each time takes a fifth of it.
void KeepFreedMemory() {
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
}

}  // namespace

absl::StatusOr<at::TensorOptions> OpenBackend(const std::string& device, int index) {
  KeepFreedMemory();
  if (device == "cpu") return at::TensorOptions(at::kCPU).dtype(at::kFloat);
  if (device != "cuda") {
    return absl::InvalidArgumentError(absl::StrCat("no device ", device, ": cpu or cuda"));
  }
  // Its kernels register themselves. The library stays open.
  if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    return absl::UnavailableError(absl::StrCat("LibTorch without CUDA: ", dlerror()));
  }
  if (!at::globalContext().hasCUDA()) return absl::UnavailableError("no CUDA device answers");
  // Products of what was bfloat16 lose nothing by it: it has fewer bits than TF32.
  at::globalContext().setAllowTF32CuBLAS(true);
  const c10::impl::VirtualGuardImpl gpus(at::kCUDA);
  const at::Device gpu(at::kCUDA, static_cast<at::DeviceIndex>(index % gpus.deviceCount()));
  gpus.setDevice(gpu);
  return at::TensorOptions(gpu).dtype(at::kBFloat16);
}

}  // namespace sieve
