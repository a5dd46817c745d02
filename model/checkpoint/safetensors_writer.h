#ifndef SIEVE_MODEL_CHECKPOINT_SAFETENSORS_WRITER_H_
#define SIEVE_MODEL_CHECKPOINT_SAFETENSORS_WRITER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kernels/dtype.h"

namespace sieve {

// Borrows its values.
struct TensorToWrite {
  std::string name;
  std::vector<int64_t> shape;
  absl::Span<const float> values;  // row-major, as many as the shape says
};

// Writes a safetensors file whose bytes are on the disk when it returns (but not yet its name:
// SyncFolder). `dtype` is kF32, or kBF16, to which values are rounded to nearest even. REQUIRES:
// names that differ. The errors of DurableFile.
absl::Status WriteSafetensors(const std::string& path, absl::Span<const TensorToWrite> tensors,
                              DType dtype);

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_SAFETENSORS_WRITER_H_
