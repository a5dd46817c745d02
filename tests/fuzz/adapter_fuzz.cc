// An adapter's folder, in two parts: adapter_config.json and adapter_model.safetensors.

#include <cmath>
#include <string>

#include "absl/status/status.h"
#include "model/adapter/adapter_file.h"
#include "model/adapter/adapter_json.h"
#include "model/adapter/parameter_report.h"
#include "model/attention/summary_layout.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/model_checks.h"
#include "tests/fuzz/scratch.h"

namespace {

using namespace sieve;  // NOLINT: LLVMFuzzerTestOneInput must be outside

// The model that it says it is for.
ModelConfig ModelOf(const AdapterConfig& config) {
  ModelConfig model;
  model.num_layers = config.num_layers;
  model.hidden_size = config.hidden_size;
  model.num_heads = config.num_heads;
  model.num_kv_heads = config.num_kv_heads;
  model.head_dim = config.head_dim;
  return model;
}

void CheckConfiguration(const AdapterConfig& config) {
  const absl::Status valid = ValidateAdapterConfig(config);
  FUZZ_CHECK(valid.ok(), valid.ToString());
  const nlohmann::json object = AdapterConfigToJson(config);
  const absl::StatusOr<AdapterConfig> again = AdapterConfigFromJson(object);
  FUZZ_CHECK(again.ok(), again.status().ToString());
  FUZZ_CHECK(AdapterConfigToJson(*again).dump() == AdapterConfigToJson(config).dump());
  FUZZ_CHECK(CountParameters(config, 0).sum.total() >= 0);
  FUZZ_CHECK(CheckAdapterFits(config, ModelOf(config), config.base_digest).ok());
  ModelConfig other = ModelOf(config);
  ++other.head_dim;
  CheckRefusal(CheckAdapterFits(config, other, config.base_digest),
               absl::StatusCode::kInvalidArgument);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const SummaryLayout layout = SummaryLayoutOf(config, dtype);
    const SummaryParts parts = PartsOf(layout);
    FUZZ_CHECK(parts.statistics >= 0 && parts.index >= 0 && parts.entries >= 0);
    FUZZ_CHECK(parts.statistics + parts.index + parts.entries == layout.bytes);
  }
}

// Every tensor is there, whole and finite, and no other is.
void CheckAdapter(const Adapter& adapter, int64_t file_bytes) {
  const AdapterConfig& config = adapter.config;
  FUZZ_CHECK(adapter.digest.size() == 64);
  FUZZ_CHECK(static_cast<int64_t>(adapter.layers.size()) == config.num_layers);
  int64_t values = 0;
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    for (const AdapterTensor& tensor : AdapterTensors(config)) {
      const std::vector<float>& own = adapter.layers[layer].*tensor.values;
      int64_t size = config.is_dense(layer) ? 0 : 1;
      for (const int64_t dim : tensor.shape) size *= dim;
      FUZZ_CHECK(static_cast<int64_t>(own.size()) == size, tensor.name);
      for (const float value : own) FUZZ_CHECK(std::isfinite(value), tensor.name);
      values += size;
    }
  }
  FUZZ_CHECK(values == CountParameters(config, 0).sum.total());
  FUZZ_CHECK(2 * values <= file_bytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto parts = SplitParts(InputText(data, size), 2);
  PutScratchFile(kAdapterConfigFile, parts[0]);
  PutScratchFile(kAdapterTensorsFile, parts[1]);
  const absl::StatusOr<AdapterConfig> config = ReadAdapterConfig(ScratchFolder());
  const absl::StatusOr<Adapter> adapter = OpenAdapter(ScratchFolder());
  if (config.ok()) {
    CheckConfiguration(*config);
  } else {
    CheckRefusal(config.status(), parts[0].empty() ? absl::StatusCode::kNotFound
                                                   : absl::StatusCode::kInvalidArgument);
    FUZZ_CHECK(!adapter.ok());
  }
  if (adapter.ok()) {
    CheckAdapter(*adapter, static_cast<int64_t>(size));
  } else if (config.ok()) {
    CheckRefusal(adapter.status(), parts[1].empty() ? absl::StatusCode::kNotFound
                                                    : absl::StatusCode::kInvalidArgument);
  }
  return 0;
}
