#include "trainer/training_state.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/durable_file.h"
#include "model/checkpoint/json.h"
#include "model/checkpoint/safetensors.h"
#include "model/checkpoint/safetensors_writer.h"
#include "model/checkpoint/sha256_stream.h"

namespace sieve {
namespace {

constexpr char kProgressFile[] = "progress.json";
constexpr char kTensorsFile[] = "tensors.safetensors";

bool IsTrained(const StageConfig& stage, const std::string& name) {
  for (const std::string& prefix : stage.trained) {
    if (absl::StartsWith(name, prefix)) return true;
  }
  return stage.trained.empty();
}

// Tensors of a value a head, or of a vector a head, learn faster.
bool IsVector(const std::string& name) {
  return name == "compress.tilt" || name == "compress.query_shift" || name == "compress.bias" ||
         name == "combine.bias" || name == "compress.key_position" ||
         name == "compress.value_position";
}

// All tensors of a state by name.
std::map<std::string, at::Tensor> TensorsOf(const TrainingState& state) {
  std::map<std::string, at::Tensor> tensors;
  for (size_t l = 0; l < state.layers.size(); ++l) {
    for (const auto& [name, tensor] : state.layers[l]) {
      tensors[absl::StrCat("value.", l, ".", name)] = tensor.detach();
    }
  }
  for (const Parameter& p : state.parameters) {
    tensors["first." + p.name] = p.first;
    tensors["second." + p.name] = p.second;
  }
  return tensors;
}

absl::Status WriteTensors(const TrainingState& state, const std::string& path) {
  std::vector<at::Tensor> kept;
  std::vector<TensorToWrite> writes;
  for (const auto& [name, tensor] : TensorsOf(state)) {
    kept.push_back(tensor.to(at::kCPU).contiguous());
    writes.push_back({name,
                      tensor.sizes().vec(),
                      {kept.back().data_ptr<float>(), static_cast<size_t>(tensor.numel())}});
  }
  return WriteSafetensors(path, writes, DType::kF32);
}

absl::Status WriteProgress(const TrainingState& state, const std::string& fingerprint,
                           const std::string& path) {
  const nlohmann::json progress = {{"fingerprint", fingerprint},
                                   {"stage", state.stage},
                                   {"step", state.step},
                                   {"mean_loss", state.mean_loss}};
  absl::StatusOr<DurableFile> file = DurableFile::Create(path);
  if (!file.ok()) return file.status();
  const absl::Status status = file->Append(progress.dump() + "\n");
  return status.ok() ? file->Finish() : status;
}

absl::Status ReadTensors(const std::string& path, TrainingState* state) {
  const auto file = SafetensorsFile::Open(path, /*max_dimensions=*/3);
  if (!file.ok()) return file.status();
  const c10::NoGradGuard no_gradients;
  for (auto& [name, tensor] : TensorsOf(*state)) {
    const auto found = (*file)->tensors().find(name);
    const auto shape = (*file)->shapes().find(name);
    if (found == (*file)->tensors().end() || shape->second != tensor.sizes().vec() ||
        found->second.dtype != DType::kF32) {
      return absl::InvalidArgumentError(absl::StrCat(path, " holds no fitting tensor ", name));
    }
    at::Tensor(tensor).copy_(at::from_blob(const_cast<void*>(found->second.data), tensor.sizes(),
                                           at::TensorOptions(at::kFloat)));
  }
  return absl::OkStatus();
}

}  // namespace

void BeginStage(const StageConfig& stage, TrainingState* state) {
  state->parameters.clear();
  state->mean_loss = 0;
  for (size_t l = 0; l < state->layers.size(); ++l) {
    for (auto& [name, tensor] : state->layers[l]) {
      const bool trained = IsTrained(stage, name);
      tensor.requires_grad_(trained);
      if (!trained) continue;
      state->parameters.push_back({.name = absl::StrCat(l, ".", name),
                                   .value = tensor,
                                   .first = at::zeros_like(tensor.detach()),
                                   .second = at::zeros_like(tensor.detach()),
                                   .rate = IsVector(name) ? stage.vector_rate : stage.matrix_rate});
    }
  }
}

absl::Status SaveState(const TrainingState& state, const std::string& fingerprint,
                       const std::string& dir) {
  const std::string fresh = dir + ".partial";
  std::error_code error;
  std::filesystem::remove_all(fresh, error);
  std::filesystem::create_directories(fresh, error);
  if (error) return absl::UnknownError(absl::StrCat("making ", fresh, ": ", error.message()));
  absl::Status status = WriteTensors(state, fresh + "/" + kTensorsFile);
  if (status.ok()) status = WriteProgress(state, fingerprint, fresh + "/" + kProgressFile);
  if (status.ok()) status = SyncFolder(fresh);
  if (status.ok()) return ReplaceFolder(fresh, dir);
  std::filesystem::remove_all(fresh, error);  // a full disk has no room for half a state
  return status;
}

absl::Status LoadState(const std::vector<StageConfig>& stages, const std::string& fingerprint,
                       const std::string& dir, TrainingState* state) {
  const auto progress = ReadJsonObject(dir + "/" + kProgressFile);
  if (!progress.ok()) return progress.status();
  std::string of;
  absl::Status status = GetField(*progress, "fingerprint", of);
  status.Update(GetField(*progress, "stage", state->stage));
  status.Update(GetField(*progress, "step", state->step));
  if (!status.ok()) return status;
  if (of != fingerprint) {
    return absl::FailedPreconditionError(
        absl::StrCat(dir, " is of another run: its configuration, model or corpus was another"));
  }
  if (state->stage < 0 || state->stage > static_cast<int64_t>(stages.size())) {
    return absl::InvalidArgumentError(absl::StrCat(dir, ": stage ", state->stage));
  }
  if (state->stage < static_cast<int64_t>(stages.size())) {
    BeginStage(stages[state->stage], state);
  }
  status = GetField(*progress, "mean_loss", state->mean_loss);
  return status.ok() ? ReadTensors(dir + "/" + kTensorsFile, state) : status;
}

absl::Status CheckSameRun(const std::string& fingerprint, Ranks& ranks) {
  if (ranks.size() == 1) return absl::OkStatus();
  Sha256Stream stream;
  stream.AddText(fingerprint);
  const std::string digest = stream.HexDigest();
  const at::Tensor own = at::empty({std::ssize(digest)}, at::kDouble);
  std::copy(digest.begin(), digest.end(), own.data_ptr<double>());
  const at::Tensor first = own.clone();
  absl::Status status = ranks.Share(first);
  if (!status.ok()) return status;
  const bool differs = !at::equal(own, first);
  const at::Tensor others = at::full({}, differs ? 1.0 : 0.0, at::kDouble);
  status = ranks.Sum(others);
  if (!status.ok()) return status;
  const int64_t count = static_cast<int64_t>(others.item<double>());
  if (count == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(count, " of ", ranks.size(), " ranks have another run than rank 0",
                   differs ? ", this one too" : "",
                   ": all need the same --config, --model and texts in --data"));
}

absl::Status ShareState(const std::vector<StageConfig>& stages, Ranks& ranks,
                        TrainingState* state) {
  if (ranks.size() == 1) return absl::OkStatus();
  double values[] = {static_cast<double>(state->stage), static_cast<double>(state->step),
                     state->mean_loss};
  const at::Tensor progress = at::from_blob(values, {std::ssize(values)}, at::kDouble);
  absl::Status status = ranks.Share(progress);
  if (!status.ok()) return status;
  if (ranks.rank() != 0) {
    state->stage = static_cast<int64_t>(values[0]);
    if (state->stage < static_cast<int64_t>(stages.size())) {
      BeginStage(stages[state->stage], state);
    }
    state->step = static_cast<int64_t>(values[1]);
    state->mean_loss = values[2];
  }
  for (const auto& [name, tensor] : TensorsOf(*state)) {
    status = ranks.Share(tensor);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace sieve
