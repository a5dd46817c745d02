#include "model/attention/adapter_check.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "model/adapter/adapter_config.h"
#include "model/attention/summary_layout.h"

namespace sieve {
namespace {

absl::Status CheckSize(absl::string_view what, int64_t given, int64_t expected) {
  if (given == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the adapter is for a model with ", what, " ",
                                                 given, ", this one has ", expected));
}

absl::Status CheckShape(const AdapterConfig& adapter, const ModelConfig& model) {
  absl::Status status = CheckSize("num_layers", adapter.num_layers, model.num_layers);
  status.Update(CheckSize("hidden_size", adapter.hidden_size, model.hidden_size));
  status.Update(CheckSize("num_heads", adapter.num_heads, model.num_heads));
  status.Update(CheckSize("num_kv_heads", adapter.num_kv_heads, model.num_kv_heads));
  status.Update(CheckSize("head_dim", adapter.head_dim, model.head_dim));
  return status;
}

absl::Status CheckTensors(const Adapter& adapter) {
  if (adapter.layers.size() != static_cast<size_t>(adapter.config.num_layers)) {
    return absl::InvalidArgumentError(absl::StrCat("the adapter has ", adapter.layers.size(),
                                                   " layers, its configuration ",
                                                   adapter.config.num_layers));
  }
  for (const AdapterTensor& tensor : AdapterTensors(adapter.config)) {
    int64_t size = 1;
    for (const int64_t n : tensor.shape) size *= n;
    for (int64_t layer = 0; layer < adapter.config.num_layers; ++layer) {
      const int64_t given = (adapter.layers[layer].*tensor.values).size();
      if (!adapter.config.is_dense(layer) && given != size) {
        return absl::InvalidArgumentError(absl::StrCat("layers.", layer, ".", tensor.name, " has ",
                                                       given, " values, expected ", size));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckAdapter(const ModelConfig& model, const CacheGeometry& cache,
                          const Adapter& adapter) {
  absl::Status status = ValidateAdapterConfig(adapter.config);
  if (status.ok()) status = CheckShape(adapter.config, model);
  if (status.ok()) status = CheckTensors(adapter);
  if (!status.ok()) return status;
  const int64_t needed = SummaryLayoutOf(adapter.config, cache.dtype).bytes;
  if (needed > cache.summary_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the adapter keeps ", needed,
                     " bytes for each block and key/value head of a layer; the cache was made with "
                     "room for ",
                     cache.summary_bytes));
  }
  return absl::OkStatus();
}

}  // namespace sieve
