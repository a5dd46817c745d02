#include "trainer/eval/variant.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "absl/strings/str_cat.h"
#include "model/adapter/adapter_file.h"
#include "model/cache/geometry.h"

namespace sieve {
namespace {

struct NamedFolder {
  std::string name, dir;
};

NamedFolder ParseAdapter(const std::string& entry) {
  const size_t equals = entry.find('=');
  if (equals != std::string::npos) return {entry.substr(0, equals), entry.substr(equals + 1)};
  // lexically_normal leaves an empty last part for "folder/".
  const std::filesystem::path path = std::filesystem::path(entry + "/").lexically_normal();
  return {path.parent_path().filename().string(), entry};
}

absl::StatusOr<std::shared_ptr<const Adapter>> Open(const std::string& dir,
                                                    const ModelConfig& model,
                                                    const std::string& model_digest) {
  absl::StatusOr<Adapter> adapter = OpenAdapter(dir);
  if (!adapter.ok()) return adapter.status();
  const absl::Status fits = CheckAdapterFits(adapter->config, model, model_digest);
  if (!fits.ok()) return fits;
  return std::make_shared<const Adapter>(*std::move(adapter));
}

// Keys that the token at a position reads exactly in a sparse layer.
int64_t KeysRead(const AdapterConfig& config, int64_t position) {
  const int64_t block = position / kPageTokens;
  const int64_t candidates =
      std::max<int64_t>(0, block - config.sink_blocks - config.window_blocks);
  const int64_t rest = std::max<int64_t>(0, candidates - config.selected_blocks);
  return position + 1 - rest * kPageTokens;
}

}  // namespace

AdapterConfig Variant::config() const {
  AdapterConfig config = adapter->config;
  config.selected_blocks = selected_blocks;
  return config;
}

absl::StatusOr<std::vector<Variant>> OpenVariants(absl::Span<const std::string> adapters,
                                                  absl::Span<const int64_t> budgets,
                                                  const ModelConfig& model,
                                                  const std::string& model_digest) {
  std::vector<Variant> variants;
  std::set<std::string> names;
  for (const std::string& entry : adapters) {
    const auto [name, dir] = ParseAdapter(entry);
    if (name.empty() || dir.empty() || !names.insert(name).second) {
      return absl::InvalidArgumentError(absl::StrCat(
          "adapter \"", entry, "\"; expected NAME=FOLDER, each name once and none empty"));
    }
    const auto adapter = Open(dir, model, model_digest);
    if (!adapter.ok()) return adapter.status();
    for (const int64_t blocks : budgets) {
      if (blocks < 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("selected blocks are ", blocks, "; expected at least 0"));
      }
      variants.push_back({name, *adapter, blocks});
    }
    if (budgets.empty()) variants.push_back({name, *adapter, (*adapter)->config.selected_blocks});
  }
  return variants;
}

nlohmann::ordered_json VariantJson(const Variant& variant) {
  return {{"adapter", variant.name},
          {"digest", variant.adapter->digest},
          {"selected_blocks", variant.selected_blocks}};
}

nlohmann::ordered_json DenseJson() {
  return {{"adapter", "dense"}, {"digest", nullptr}, {"selected_blocks", nullptr}};
}

double Density(const AdapterConfig& config, int64_t tokens) {
  double read = 0;
  for (int64_t t = 0; t < tokens; ++t) read += static_cast<double>(KeysRead(config, t));
  const double causal = 0.5 * static_cast<double>(tokens) * static_cast<double>(tokens + 1);
  const double dense = static_cast<double>(config.dense_layers.size());
  const double layers = static_cast<double>(config.num_layers);
  return (dense + (layers - dense) * read / causal) / layers;
}

}  // namespace sieve
