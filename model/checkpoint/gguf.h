#ifndef SIEVE_MODEL_CHECKPOINT_GGUF_H_
#define SIEVE_MODEL_CHECKPOINT_GGUF_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/tensor_view.h"
#include "model/checkpoint/gguf_value.h"

namespace sieve {

// A GGUF file (versions 2 and 3, little-endian), mapped read-only. Format:
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
class GgufFile {
 public:
  // INVALID_ARGUMENT with file, key or tensor, and reason for anything malformed.
  static absl::StatusOr<std::unique_ptr<GgufFile>> Open(const std::string& path);
  virtual ~GgufFile() = default;

  virtual const std::string& path() const = 0;
  virtual int64_t file_bytes() const = 0;
  virtual const std::map<std::string, GgufValue, std::less<>>& metadata() const = 0;
  // Tensors of one or two dimensions; GGUF's first dimension is the columns.
  virtual const std::map<std::string, TensorView, std::less<>>& tensors() const = 0;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_GGUF_H_
