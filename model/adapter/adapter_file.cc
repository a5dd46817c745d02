#include "model/adapter/adapter_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <filesystem>
#include <memory>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/float16.h"
#include "model/adapter/adapter_json.h"
#include "model/checkpoint/durable_file.h"
#include "model/checkpoint/json.h"
#include "model/checkpoint/quoted.h"
#include "model/checkpoint/safetensors.h"
#include "model/checkpoint/safetensors_writer.h"
#include "model/checkpoint/sha256_stream.h"

namespace sieve {
namespace {

namespace fs = std::filesystem;

absl::Status Annotate(absl::string_view path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
}

std::string TensorName(int64_t layer, const AdapterTensor& tensor) {
  return absl::StrCat("layers.", layer, ".", tensor.name);
}

std::string ShapeText(absl::Span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

int64_t SizeOf(const AdapterTensor& tensor) {
  int64_t size = 1;
  for (const int64_t dim : tensor.shape) size *= dim;
  return size;
}

absl::Status TensorError(const std::string& name, absl::string_view reason) {
  return absl::InvalidArgumentError(absl::StrCat("tensor ", Quoted(name), ": ", reason));
}

absl::Status CheckFinite(const std::string& name, absl::Span<const float> values) {
  const auto bad = std::find_if_not(values.begin(), values.end(),
                                    [](float value) { return std::isfinite(value); });
  if (bad == values.end()) return absl::OkStatus();
  return TensorError(name, absl::StrCat("value ", bad - values.begin(), " is ", *bad));
}

// Takes an adapter's tensors out of a file.
class TensorReader {
 public:
  explicit TensorReader(const SafetensorsFile& file) : file_(file) {}

  absl::Status Read(Adapter* adapter) {
    const AdapterConfig& config = adapter->config;
    const std::vector<AdapterTensor> wanted = AdapterTensors(config);
    adapter->layers.resize(config.num_layers);
    for (int64_t layer = 0; layer < config.num_layers; ++layer) {
      if (config.is_dense(layer)) continue;
      for (const AdapterTensor& tensor : wanted) {
        const absl::Status status = ReadTensor(TensorName(layer, tensor), tensor.shape,
                                               &(adapter->layers[layer].*tensor.values));
        if (!status.ok()) return status;
      }
    }
    return CheckNoOther();
  }

 private:
  absl::Status ReadTensor(const std::string& name, absl::Span<const int64_t> shape,
                          std::vector<float>* values) {
    const auto found = file_.shapes().find(name);
    if (found == file_.shapes().end()) return TensorError(name, "missing");
    if (absl::MakeSpan(found->second) != shape) {
      return TensorError(
          name, absl::StrCat("shape ", ShapeText(found->second), ", expected ", ShapeText(shape)));
    }
    names_.push_back(&found->first);
    const TensorView& view = file_.tensors().find(name)->second;
    const int64_t size = view.rows * view.cols;
    if (view.dtype == DType::kF32) {
      const float* data = static_cast<const float*>(view.data);
      values->assign(data, data + size);
    } else if (view.dtype == DType::kBF16) {
      const uint16_t* data = static_cast<const uint16_t*>(view.data);
      values->resize(size);
      std::transform(data, data + size, values->begin(), BFloat16ToFloat);
    } else {
      return TensorError(name, "its type is not F32 or BF16");
    }
    return CheckFinite(name, *values);
  }

  absl::Status CheckNoOther() {
    if (names_.size() == file_.shapes().size()) return absl::OkStatus();
    for (const auto& [name, shape] : file_.shapes()) {
      if (std::find(names_.begin(), names_.end(), &name) == names_.end()) {
        return TensorError(name, "not one that the configuration asks for");
      }
    }
    return absl::OkStatus();
  }

  const SafetensorsFile& file_;
  std::vector<const std::string*> names_;  // of those that were read
};

std::string DigestOf(std::string_view config, std::string_view tensors) {
  Sha256Stream stream;
  for (const std::string_view bytes : {config, tensors}) {
    stream.AddNumber(bytes.size());
    stream.Add(bytes);
  }
  return stream.HexDigest();
}

// Of a configuration; a long one is mostly a long name of the base model.
constexpr int64_t kMaxConfigBytes = 64 << 10;

// What the tensors of a configuration can take in a file, with its header.
int64_t MaxTensorBytes(const AdapterConfig& config) {
  constexpr int64_t kHeaderBytesATensor = 1 << 10;
  int64_t bytes = 0;
  for (const AdapterTensor& tensor : AdapterTensors(config)) {
    bytes += SizeOf(tensor) * static_cast<int64_t>(sizeof(float)) + kHeaderBytesATensor;
  }
  return config.num_layers * bytes + (1 << 20);
}

absl::Status CheckToWrite(const Adapter& adapter, DType dtype) {
  const nlohmann::json object = AdapterConfigToJson(adapter.config);
  if (absl::Status status = AdapterConfigFromJson(object).status(); !status.ok()) return status;
  if (static_cast<int64_t>(adapter.layers.size()) != adapter.config.num_layers) {
    return absl::InvalidArgumentError(absl::StrCat("the adapter has ", adapter.layers.size(),
                                                   " layers, its configuration ",
                                                   adapter.config.num_layers));
  }
  for (int64_t layer = 0; layer < adapter.config.num_layers; ++layer) {
    if (adapter.config.is_dense(layer)) continue;
    for (const AdapterTensor& tensor : AdapterTensors(adapter.config)) {
      const std::vector<float>& values = adapter.layers[layer].*tensor.values;
      const std::string name = TensorName(layer, tensor);
      if (static_cast<int64_t>(values.size()) != SizeOf(tensor)) {
        return TensorError(
            name, absl::StrCat(values.size(), " values for shape ", ShapeText(tensor.shape)));
      }
      if (absl::Status status = CheckFinite(name, values); !status.ok()) return status;
      // The largest floats become infinity when they are rounded.
      const auto rounds = [](float value) {
        return std::isfinite(BFloat16ToFloat(FloatToBFloat16(value)));
      };
      if (dtype == DType::kBF16 && !std::all_of(values.begin(), values.end(), rounds)) {
        return TensorError(name, "a value is too large for BF16");
      }
    }
  }
  return absl::OkStatus();
}

// Nobody's other files are to go with an old adapter.
absl::Status CheckReplaceable(const std::string& dir) {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(dir, error))) return absl::OkStatus();
  if (!fs::is_directory(dir, error)) {
    return absl::FailedPreconditionError(absl::StrCat(dir, ": exists and is not a folder"));
  }
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename();
    if (name == kAdapterConfigFile || name == kAdapterTensorsFile) continue;
    return absl::FailedPreconditionError(
        absl::StrCat(dir, ": holds ", Quoted(name),
                     ", which is no file of an adapter: not replaced; name another folder"));
  }
  return error ? absl::ErrnoToStatus(error.value(), dir) : absl::OkStatus();
}

std::vector<TensorToWrite> TensorsOf(const Adapter& adapter) {
  std::vector<TensorToWrite> tensors;
  for (int64_t layer = 0; layer < adapter.config.num_layers; ++layer) {
    if (adapter.config.is_dense(layer)) continue;
    for (const AdapterTensor& tensor : AdapterTensors(adapter.config)) {
      tensors.push_back(
          {TensorName(layer, tensor), tensor.shape, adapter.layers[layer].*tensor.values});
    }
  }
  return tensors;
}

absl::Status WriteFiles(const Adapter& adapter, const std::string& dir, DType dtype) {
  absl::StatusOr<DurableFile> config =
      DurableFile::Create(absl::StrCat(dir, "/", kAdapterConfigFile));
  // A model may call itself what is not UTF-8.
  const std::string text = AdapterConfigToJson(adapter.config)
                               .dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
  absl::Status status = config.status();
  if (status.ok()) status = config->Append(text + "\n");
  if (status.ok()) status = config->Finish();
  if (!status.ok()) return status;
  return WriteSafetensors(absl::StrCat(dir, "/", kAdapterTensorsFile), TensorsOf(adapter), dtype);
}

}  // namespace

absl::StatusOr<AdapterDir> AdapterDir::Open(const std::string& dir) {
  const int descriptor = open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor >= 0) return AdapterDir(descriptor, dir, /*follow_links=*/true);
  if (errno != ENOTDIR) return absl::ErrnoToStatus(errno, dir);
  return absl::InvalidArgumentError(absl::StrCat(dir, ": not a folder"));
}

absl::StatusOr<AdapterDir> AdapterDir::OpenIn(const std::string& root, const std::string& name) {
  const absl::StatusOr<AdapterDir> above = Open(root);
  if (!above.ok()) return above.status();
  if (name.find('/') != std::string::npos || name == "..") {
    return absl::InvalidArgumentError(absl::StrCat(Quoted(name), ": not a folder's name"));
  }
  const int descriptor =
      openat(above->descriptor_, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (descriptor >= 0) return AdapterDir(descriptor, name, /*follow_links=*/false);
  const int error = errno;
  struct stat info = {};
  if (error == ENOTDIR || error == ELOOP) {
    const bool link = fstatat(above->descriptor_, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 &&
                      S_ISLNK(info.st_mode);
    if (!link) return absl::InvalidArgumentError(absl::StrCat(name, ": not a folder"));
    return absl::PermissionDeniedError(
        absl::StrCat(name, ": is a symbolic link; expected a folder in the root itself"));
  }
  return absl::ErrnoToStatus(error, name);
}

AdapterDir::AdapterDir(AdapterDir&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      path_(other.path_),
      follow_links_(other.follow_links_) {}

AdapterDir::~AdapterDir() {
  if (descriptor_ >= 0) close(descriptor_);
}

absl::StatusOr<MappedFile> AdapterDir::Copy(const char* name, int64_t max_bytes) const {
  absl::StatusOr<MappedFile> file = MappedFile::CopyIn(descriptor_, name, follow_links_,
                                                       absl::StrCat(path_, "/", name), max_bytes);
  struct stat info = {};
  if (absl::IsNotFound(file.status()) && fstat(descriptor_, &info) == 0 && info.st_nlink == 0) {
    return absl::UnavailableError(
        absl::StrCat(path_, ": the folder was replaced while it was read; try again"));
  }
  return file;
}

absl::StatusOr<AdapterConfig> AdapterDir::ParseConfig(const MappedFile& file) const {
  const absl::StatusOr<nlohmann::json> object = ParseJsonObject(file.bytes());
  absl::Status status = object.status();
  if (status.ok()) {
    absl::StatusOr<AdapterConfig> config = AdapterConfigFromJson(*object);
    if (config.ok()) return config;
    status = config.status();
  }
  return Annotate(file.path(), status);
}

absl::StatusOr<AdapterConfig> AdapterDir::ReadConfig() const {
  const absl::StatusOr<MappedFile> file = Copy(kAdapterConfigFile, kMaxConfigBytes);
  if (!file.ok()) return file.status();
  return ParseConfig(*file);
}

// Both files are copied before anything is made of them: what is digested is what is served,
// whoever writes to them meanwhile.
absl::StatusOr<Adapter> AdapterDir::Read() const {
  const absl::StatusOr<MappedFile> config_file = Copy(kAdapterConfigFile, kMaxConfigBytes);
  if (!config_file.ok()) return config_file.status();
  absl::StatusOr<AdapterConfig> config = ParseConfig(*config_file);
  if (!config.ok()) return config.status();
  absl::StatusOr<MappedFile> tensors = Copy(kAdapterTensorsFile, MaxTensorBytes(*config));
  if (!tensors.ok()) return tensors.status();
  Adapter adapter;
  adapter.config = *std::move(config);
  adapter.digest = DigestOf(config_file->bytes(), tensors->bytes());
  const std::string path = tensors->path();
  const absl::StatusOr<std::unique_ptr<SafetensorsFile>> file =
      SafetensorsFile::Read(*std::move(tensors), /*max_dimensions=*/3);
  if (!file.ok()) return file.status();
  const absl::Status status = TensorReader(**file).Read(&adapter);
  if (!status.ok()) return Annotate(path, status);
  return adapter;
}

absl::StatusOr<AdapterConfig> ReadAdapterConfig(const std::string& dir) {
  const absl::StatusOr<AdapterDir> folder = AdapterDir::Open(dir);
  if (!folder.ok()) return folder.status();
  return folder->ReadConfig();
}

absl::StatusOr<Adapter> OpenAdapter(const std::string& dir) {
  const absl::StatusOr<AdapterDir> folder = AdapterDir::Open(dir);
  if (!folder.ok()) return folder.status();
  return folder->Read();
}

absl::Status CheckAdapterFits(const AdapterConfig& adapter, const ModelConfig& model,
                              std::string_view model_digest) {
  std::string reason;
  const auto compare = [&reason](const char* field, int64_t wanted, int64_t loaded) {
    if (!reason.empty() || wanted == loaded) return;
    reason = absl::StrCat(field, " is ", wanted, " there and ", loaded, " here");
  };
  compare("num_layers", adapter.num_layers, model.num_layers);
  compare("hidden_size", adapter.hidden_size, model.hidden_size);
  compare("num_heads", adapter.num_heads, model.num_heads);
  compare("num_kv_heads", adapter.num_kv_heads, model.num_kv_heads);
  compare("head_dim", adapter.head_dim, model.head_dim);
  if (reason.empty() && adapter.base_digest != model_digest) {
    reason =
        absl::StrCat("the layers have the same shape, but weights, their types, the ",
                     "vocabulary or constants differ (digest ", adapter.base_digest.substr(0, 12),
                     "... there, ", std::string(model_digest.substr(0, 12)), "... here)");
  }
  if (reason.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the adapter is for the model ",
                                                 Quoted(adapter.base_model), ", but ",
                                                 Quoted(model.name), " is loaded: ", reason));
}

absl::Status WriteAdapter(const Adapter& adapter, const std::string& dir, DType dtype) {
  if (absl::Status status = CheckToWrite(adapter, dtype); !status.ok()) {
    return Annotate(dir, status);
  }
  std::error_code error;
  // Also through a link, and whether or not there is a slash at the end.
  fs::path target = fs::weakly_canonical(dir, error);
  if (error) return absl::ErrnoToStatus(error.value(), dir);
  if (target.filename().empty()) target = target.parent_path();
  if (absl::Status status = CheckReplaceable(target); !status.ok()) return status;
  const std::string partial =
      target.parent_path() / absl::StrCat(".", target.filename().string(), ".partial");
  const auto remove_partial = [&partial] {
    std::error_code ignored;
    fs::remove_all(partial, ignored);
  };
  remove_partial();  // of a writer that was killed
  if (!fs::create_directory(partial, error)) {
    return absl::ErrnoToStatus(error.value(), absl::StrCat(partial, ": creating it failed"));
  }
  const auto cleanup = absl::MakeCleanup(remove_partial);
  if (absl::Status status = WriteFiles(adapter, partial, dtype); !status.ok()) return status;
  return ReplaceFolder(partial, target);
}

}  // namespace sieve
