#ifndef SIEVE_MODEL_CHECKPOINT_SAFETENSORS_H_
#define SIEVE_MODEL_CHECKPOINT_SAFETENSORS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/tensor_view.h"
#include "model/checkpoint/mapped_file.h"

namespace sieve {

// A safetensors file in memory. Format: https://github.com/huggingface/safetensors#format
class SafetensorsFile {
 public:
  // INVALID_ARGUMENT with file, tensor and reason for anything malformed; the tensors must fill the
  // data section without overlap or gap, as the format says. Tensors have 1 to `max_dimensions` (2
  // or 3) dimensions.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path,
                                                               int max_dimensions = 2);
  // The same of a file that is open already.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Read(MappedFile file, int max_dimensions);

  const std::string& path() const { return file_.path(); }
  int64_t file_bytes() const { return static_cast<int64_t>(file_.bytes().size()); }
  // F32, F16 and BF16 tensors; rows are all dimensions but the last.
  const std::map<std::string, TensorView, std::less<>>& tensors() const { return tensors_; }
  // As the file gives them, for the same names.
  const std::map<std::string, std::vector<int64_t>, std::less<>>& shapes() const { return shapes_; }

 private:
  explicit SafetensorsFile(MappedFile file) : file_(std::move(file)) {}
  absl::Status Parse(int max_dimensions);
  const char* Aligned(const char* data, const TensorView& shape);

  const MappedFile file_;
  std::map<std::string, TensorView, std::less<>> tensors_;
  std::map<std::string, std::vector<int64_t>, std::less<>> shapes_;
  // Copies of tensors that the file does not align to their elements (writers usually do).
  std::vector<std::unique_ptr<char[]>> copies_;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_SAFETENSORS_H_
