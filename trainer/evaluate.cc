#include "trainer/evaluate.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "trainer/batches.h"
#include "trainer/distill.h"

namespace sieve {
namespace {

constexpr int kResamples = 2000;

// Sums over the predicted tokens of one window.
struct WindowSums {
  double dense_nll = 0, sparse_nll = 0, kl = 0, agreements = 0;
};

// Rows of logits at a time. Hidden states are [N, T, hidden], tokens [N, T]; sums by window.
std::vector<WindowSums> Compare(const FrozenLlama& llama, const at::Tensor& tokens,
                                const at::Tensor& dense, const at::Tensor& sparse, int64_t rows) {
  std::vector<WindowSums> out(tokens.size(0));
  const int64_t predicted = tokens.size(1) - 1;
  for (int64_t n = 0; n < tokens.size(0); ++n) {
    for (int64_t begin = 0; begin < predicted; begin += rows) {
      const int64_t count = std::min(rows, predicted - begin);
      const at::Tensor next = tokens[n].narrow(0, begin + 1, count).unsqueeze(-1);
      const at::Tensor a = at::log_softmax(llama.Logits(dense[n].narrow(0, begin, count)), -1);
      const at::Tensor b = at::log_softmax(llama.Logits(sparse[n].narrow(0, begin, count)), -1);
      const at::Tensor sums =
          at::stack({a.gather(-1, next).sum(), b.gather(-1, next).sum(), (a.exp() * (a - b)).sum(),
                     a.argmax(-1).eq(b.argmax(-1)).sum().to(at::kFloat)})
              .to(at::kCPU, at::kDouble);
      const double* values = sums.data_ptr<double>();
      out[n].dense_nll -= values[0];
      out[n].sparse_nll -= values[1];
      out[n].kl += values[2];
      out[n].agreements += values[3];
    }
  }
  return out;
}

double Ratio(const std::vector<WindowSums>& windows, const std::vector<size_t>& chosen,
             int64_t predicted) {
  double difference = 0;
  for (const size_t i : chosen) difference += windows[i].sparse_nll - windows[i].dense_nll;
  return std::exp(difference / static_cast<double>(chosen.size() * predicted));
}

std::vector<double> RatioInterval(const std::vector<WindowSums>& windows, int64_t predicted,
                                  uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<double> ratios;
  std::vector<size_t> chosen(windows.size());
  for (int i = 0; i < kResamples; ++i) {
    for (size_t& index : chosen) index = random() % windows.size();
    ratios.push_back(Ratio(windows, chosen, predicted));
  }
  std::sort(ratios.begin(), ratios.end());
  return {ratios[kResamples / 40], ratios[kResamples - 1 - kResamples / 40]};
}

nlohmann::ordered_json Summary(const std::vector<WindowSums>& windows, int64_t predicted,
                               uint64_t seed) {
  WindowSums all;
  for (const WindowSums& w : windows) {
    all.dense_nll += w.dense_nll;
    all.sparse_nll += w.sparse_nll;
    all.kl += w.kl;
    all.agreements += w.agreements;
  }
  const double count = static_cast<double>(windows.size() * predicted);
  return {{"dense_perplexity", std::exp(all.dense_nll / count)},
          {"sparse_perplexity", std::exp(all.sparse_nll / count)},
          {"ratio", std::exp((all.sparse_nll - all.dense_nll) / count)},
          {"ratio_interval", RatioInterval(windows, predicted, seed)},
          {"kl", all.kl / count},
          {"agreement", all.agreements / count}};
}

double Density(const AdapterConfig& config, int64_t keys_read, int64_t windows, int64_t length) {
  const int64_t layers = config.num_layers - static_cast<int64_t>(config.dense_layers.size());
  const double causal = 0.5 * static_cast<double>(length) * static_cast<double>(length + 1);
  return static_cast<double>(keys_read) /
         (causal * static_cast<double>(windows * layers * config.num_kv_heads));
}

}  // namespace

nlohmann::ordered_json Evaluate(const FrozenLlama& llama, const AdapterConfig& config,
                                const std::vector<LayerTensors>& layers,
                                absl::Span<const int32_t> tokens,
                                const EvaluationOptions& options) {
  const c10::NoGradGuard no_gradients;
  int64_t windows = static_cast<int64_t>(tokens.size()) / options.window;
  if (options.max_windows > 0) windows = std::min(windows, options.max_windows);
  const size_t budgets = options.selected_blocks.size();
  std::vector<std::vector<WindowSums>> sums(budgets);
  std::vector<int64_t> keys_read(budgets, 0);
  for (int64_t w = 0; w < windows; w += options.windows_at_once) {
    std::vector<int64_t> begins;
    for (int64_t i = w; i < std::min(w + options.windows_at_once, windows); ++i) {
      begins.push_back(i * options.window);
    }
    const at::Tensor batch = MakeBatch(tokens, begins, options.window, llama.options().device());
    const at::Tensor dense = DenseHidden(llama, batch);
    for (size_t b = 0; b < budgets; ++b) {
      const SparseHiddenResult sparse = SparseHidden(llama, config, layers, batch,
                                                     {.selected_blocks = options.selected_blocks[b],
                                                      .query_chunk = options.query_chunk,
                                                      .selector_weight = 0});
      keys_read[b] += sparse.keys_read.item<int64_t>();
      for (const WindowSums& one :
           Compare(llama, batch, dense, sparse.hidden, options.logit_rows)) {
        sums[b].push_back(one);
      }
    }
  }
  nlohmann::ordered_json out = {{"window", options.window}, {"windows", windows}};
  out["budgets"] = nlohmann::ordered_json::array();
  for (size_t b = 0; windows > 0 && b < budgets; ++b) {
    nlohmann::ordered_json row = {{"selected_blocks", options.selected_blocks[b]}};
    row.update(Summary(sums[b], options.window - 1, options.seed));
    row["density"] = Density(config, keys_read[b], windows, options.window);
    out["budgets"].push_back(row);
  }
  return out;
}

}  // namespace sieve
