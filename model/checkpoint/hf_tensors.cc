#include "model/checkpoint/hf_tensors.h"

#include <filesystem>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/json.h"
#include "model/checkpoint/quoted.h"

namespace sieve {
namespace {

using nlohmann::json;

absl::StatusOr<HfTensors> OpenSingle(const std::string& path) {
  absl::StatusOr<std::unique_ptr<SafetensorsFile>> file = SafetensorsFile::Open(path);
  if (!file.ok()) return file.status();
  HfTensors result;
  result.tensors = (*file)->tensors();
  result.files.push_back(*std::move(file));
  return result;
}

// A plain file name: an index must not lead out of its folder.
bool IsShardName(const std::string& name) {
  return absl::EndsWith(name, ".safetensors") && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

class ShardOpener {
 public:
  ShardOpener(const std::string& dir, std::string index_path)
      : dir_(dir), index_path_(std::move(index_path)) {}

  absl::StatusOr<HfTensors> Open() && {
    absl::StatusOr<json> index = ReadJsonObject(index_path_);
    if (!index.ok()) return index.status();
    const auto weight_map = index->find("weight_map");
    if (weight_map == index->end() || !weight_map->is_object()) {
      return Error("no \"weight_map\" object");
    }
    for (const auto& [tensor, shard] : weight_map->items()) {
      const absl::Status status =
          shard.is_string() ? AddTensor(tensor, shard.get<std::string>())
                            : Error("tensor ", Quoted(tensor), ": the shard is not a string");
      if (!status.ok()) return status;
    }
    for (auto& [name, shard] : shards_) result_.files.push_back(std::move(shard));
    return std::move(result_);
  }

 private:
  template <typename... Parts>
  absl::Status Error(const Parts&... parts) const {
    return absl::InvalidArgumentError(absl::StrCat(index_path_, ": ", parts...));
  }

  absl::Status AddTensor(const std::string& tensor, const std::string& shard_name) {
    if (!IsShardName(shard_name)) {
      return Error("tensor ", Quoted(tensor), ": shard ", Quoted(shard_name),
                   " is not the name of a .safetensors file in the folder");
    }
    std::unique_ptr<SafetensorsFile>& shard = shards_[shard_name];
    if (shard == nullptr) {
      absl::StatusOr<std::unique_ptr<SafetensorsFile>> opened =
          SafetensorsFile::Open(absl::StrCat(dir_, "/", shard_name));
      if (absl::IsNotFound(opened.status()))
        return Error("shard ", Quoted(shard_name), " is missing");
      if (!opened.ok()) return opened.status();
      shard = *std::move(opened);
    }
    const auto it = shard->tensors().find(tensor);
    if (it == shard->tensors().end()) {
      return Error("tensor ", Quoted(tensor), " is not in ", Quoted(shard_name));
    }
    result_.tensors.emplace(tensor, it->second);
    return absl::OkStatus();
  }

  const std::string dir_;
  const std::string index_path_;
  std::map<std::string, std::unique_ptr<SafetensorsFile>> shards_;
  HfTensors result_;
};

}  // namespace

absl::StatusOr<HfTensors> OpenHfTensors(const std::string& dir) {
  const std::string single = dir + "/model.safetensors";
  const std::string index = single + ".index.json";
  std::error_code ignored;
  if (std::filesystem::exists(single, ignored)) return OpenSingle(single);
  if (std::filesystem::exists(index, ignored)) return ShardOpener(dir, index).Open();
  return absl::NotFoundError(
      absl::StrCat(dir, ": neither model.safetensors nor model.safetensors.index.json is there"));
}

}  // namespace sieve
