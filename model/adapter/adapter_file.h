#ifndef SIEVE_MODEL_ADAPTER_ADAPTER_FILE_H_
#define SIEVE_MODEL_ADAPTER_ADAPTER_FILE_H_

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/dtype.h"
#include "model/adapter/adapter.h"
#include "model/checkpoint/mapped_file.h"
#include "model/config.h"

namespace sieve {

// An adapter's folder holds these, named as PEFT names them; docs/adapters.md says what is in them.
inline constexpr char kAdapterConfigFile[] = "adapter_config.json";
inline constexpr char kAdapterTensorsFile[] = "adapter_model.safetensors";

// An adapter's folder, open: what stands at its path later does not matter.
class AdapterDir {
 public:
  // NOT_FOUND, INVALID_ARGUMENT when it is no folder.
  static absl::StatusOr<AdapterDir> Open(const std::string& dir);

  // The folder `name`, which is no path, of the folder `root`. Neither it nor its files may be
  // links (PERMISSION_DENIED), so that nobody who writes to the root leads the reader out of it.
  // Errors call it `name`.
  static absl::StatusOr<AdapterDir> OpenIn(const std::string& root, const std::string& name);

  AdapterDir(AdapterDir&& other) noexcept;
  AdapterDir& operator=(AdapterDir&&) = delete;
  ~AdapterDir();

  // See ReadAdapterConfig and OpenAdapter.
  absl::StatusOr<AdapterConfig> ReadConfig() const;
  absl::StatusOr<Adapter> Read() const;

 private:
  AdapterDir(int descriptor, std::string path, bool follow_links)
      : descriptor_(descriptor), path_(std::move(path)), follow_links_(follow_links) {}

  absl::StatusOr<MappedFile> Copy(const char* name, int64_t max_bytes) const;
  absl::StatusOr<AdapterConfig> ParseConfig(const MappedFile& file) const;

  int descriptor_;
  const std::string path_;  // for messages
  const bool follow_links_;
};

// Reads an adapter's configuration alone. The errors of OpenAdapter.
absl::StatusOr<AdapterConfig> ReadAdapterConfig(const std::string& dir);

// Reads an adapter, with its digest. NOT_FOUND when a file is missing; INVALID_ARGUMENT with file,
// key or tensor, and reason, for anything malformed, truncated, missing, unknown, of another shape,
// not finite or of another format version; UNAVAILABLE when the folder was removed meanwhile, as
// one is that another takes the place of.
absl::StatusOr<Adapter> OpenAdapter(const std::string& dir);

// INVALID_ARGUMENT, saying which model the adapter is for, which one is loaded and in what they
// differ, unless the adapter was made for the model of this shape and BaseDigest.
absl::Status CheckAdapterFits(const AdapterConfig& adapter, const ModelConfig& model,
                              std::string_view model_digest);

// Writes an adapter as the folder `dir`, tensors as kF32 or rounded to kBF16. What was there stays
// whole until the new one is on the disk, and takes its place then (ReplaceFolder); meanwhile
// the new one is beside it, as .NAME.partial. INVALID_ARGUMENT for an adapter that OpenAdapter
// would refuse, FAILED_PRECONDITION when `dir` holds anything but an adapter's two files,
// RESOURCE_EXHAUSTED for a full disk, and the system's other errors. REQUIRES: no other writer of
// `dir`.
absl::Status WriteAdapter(const Adapter& adapter, const std::string& dir, DType dtype);

}  // namespace sieve

#endif  // SIEVE_MODEL_ADAPTER_ADAPTER_FILE_H_
