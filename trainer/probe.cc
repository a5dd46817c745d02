#include "trainer/probe.h"

#include <cmath>
#include <limits>

#include "trainer/distill.h"

namespace sieve {
namespace {

constexpr int64_t kBlock = 64;
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

std::vector<float> Floats(const at::Tensor& x) {
  const at::Tensor host = x.to(at::kCPU, at::kFloat).contiguous();
  return {host.data_ptr<float>(), host.data_ptr<float>() + host.numel()};
}

}  // namespace

ProbeResult Probe(const FrozenLlama& llama, const AdapterConfig& config,
                  const std::vector<LayerTensors>& layers, const at::Tensor& tokens,
                  int64_t query_chunk) {
  const c10::NoGradGuard no_gradients;
  const SparseHiddenResult sparse = SparseHidden(llama, config, layers, tokens,
                                                 {.selected_blocks = config.selected_blocks,
                                                  .query_chunk = query_chunk,
                                                  .selector_weight = 0,
                                                  .probe = true});
  ProbeResult out;
  out.blocks = tokens.size(1) / kBlock;
  out.chosen.resize(config.num_layers);
  for (int64_t l = 0; l < config.num_layers; ++l) {
    if (config.is_dense(l)) {
      out.branches.push_back({kNone, kNone, kNone});
      continue;
    }
    const std::vector<float> shares = Floats(sparse.branches[l]);
    out.branches.push_back({shares[0], shares[1], shares[2]});
    for (int64_t head = 0; head < config.num_kv_heads; ++head) {
      out.chosen[l].push_back(Floats(sparse.chosen[l][0][head]));
    }
  }
  return out;
}

nlohmann::json ProbeJson(const AdapterConfig& config, const ProbeResult& probe) {
  nlohmann::json branches = nlohmann::json::array(), chosen = nlohmann::json::array();
  for (const BranchShares& shares : probe.branches) {
    branches.push_back({shares.base, shares.selected, shares.compressed});
  }
  for (const auto& heads : probe.chosen) {
    nlohmann::json layer = nlohmann::json::array();
    for (const std::vector<float>& shares : heads) {
      nlohmann::json percent = nlohmann::json::array();
      for (const float share : shares) percent.push_back(std::lround(100 * share));
      layer.push_back(std::move(percent));
    }
    chosen.push_back(std::move(layer));
  }
  return {{"blocks", probe.blocks},
          {"sink_blocks", config.sink_blocks},
          {"window_blocks", config.window_blocks},
          {"selected_blocks", config.selected_blocks},
          {"branches", std::move(branches)},
          {"chosen", std::move(chosen)}};
}

}  // namespace sieve
