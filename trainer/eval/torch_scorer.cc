#include "trainer/eval/torch_scorer.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "trainer/batches.h"
#include "trainer/distill.h"

namespace sieve {
namespace {

// Of tokens `scored` … T-1 of one window, whose tokens are [T] and last hidden states [T, hidden].
WindowScores ScoreRows(const FrozenLlama& llama, const at::Tensor& tokens, const at::Tensor& dense,
                       const at::Tensor& sparse, int64_t scored, int64_t rows) {
  WindowScores out;
  for (int64_t begin = scored; begin < tokens.size(0); begin += rows) {
    const int64_t count = std::min(rows, tokens.size(0) - begin);
    const at::Tensor next = tokens.narrow(0, begin, count).unsqueeze(-1);
    const at::Tensor a = at::log_softmax(llama.Logits(dense.narrow(0, begin - 1, count)), -1);
    const at::Tensor b = at::log_softmax(llama.Logits(sparse.narrow(0, begin - 1, count)), -1);
    const at::Tensor columns =
        at::stack({-a.gather(-1, next).squeeze(-1), -b.gather(-1, next).squeeze(-1),
                   (a.exp() * (a - b)).sum(-1), a.argmax(-1).eq(b.argmax(-1)).to(at::kFloat)},
                  1)
            .to(at::kCPU, at::kDouble)
            .contiguous();
    const double* values = columns.data_ptr<double>();
    for (int64_t i = 0; i < count; ++i, values += 4) {
      out.push_back({values[0], values[1], values[2], values[3] != 0});
    }
  }
  return out;
}

absl::Status CheckFinite(const WindowScores& scores, int64_t scored) {
  for (size_t i = 0; i < scores.size(); ++i) {
    if (std::isfinite(scores[i].dense_nll + scores[i].sparse_nll + scores[i].kl)) continue;
    return absl::InternalError(
        absl::StrCat("logits are not finite at token ", scored + static_cast<int64_t>(i) - 1));
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<TorchVariant> TorchVariants(absl::Span<const Variant> variants, at::Device device) {
  std::map<const Adapter*, std::vector<LayerTensors>> loaded;
  std::vector<TorchVariant> out;
  for (const Variant& variant : variants) {
    auto [found, is_new] = loaded.try_emplace(variant.adapter.get());
    if (is_new) found->second = LoadLayers(*variant.adapter, device);
    out.push_back({variant.config(), found->second});
  }
  return out;
}

TorchScorer::TorchScorer(const FrozenLlama* llama, std::vector<TorchVariant> variants,
                         const TorchScorerOptions& options)
    : llama_(llama), variants_(std::move(variants)), options_(options) {}

absl::Status TorchScorer::ScoreBatch(absl::Span<const int32_t> text,
                                     absl::Span<const ScoredWindow> windows,
                                     std::vector<std::vector<WindowScores>>* out) const {
  std::vector<int64_t> begins;
  for (const ScoredWindow& window : windows) begins.push_back(window.begin);
  const at::Tensor batch = MakeBatch(text, begins, windows[0].length(), llama_->options().device());
  const at::Tensor dense = DenseHidden(*llama_, batch);
  for (size_t v = 0; v < variants_.size(); ++v) {
    const TorchVariant& variant = variants_[v];
    const at::Tensor sparse = SparseHidden(*llama_, variant.config, variant.layers, batch,
                                           {.selected_blocks = variant.config.selected_blocks,
                                            .query_chunk = options_.query_chunk,
                                            .selector_weight = 0})
                                  .hidden;
    for (size_t n = 0; n < windows.size(); ++n) {
      const int64_t i = static_cast<int64_t>(n);
      WindowScores scores = ScoreRows(*llama_, batch[i], dense[i], sparse[i],
                                      windows[n].scored - windows[n].begin, options_.logit_rows);
      const absl::Status finite = CheckFinite(scores, windows[n].scored);
      if (!finite.ok()) return finite;
      (*out)[v].push_back(std::move(scores));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::vector<WindowScores>>> TorchScorer::Score(
    absl::Span<const int32_t> text, absl::Span<const ScoredWindow> windows) {
  const c10::NoGradGuard no_gradients;
  std::vector<std::vector<WindowScores>> out(variants_.size());
  // A batch's windows are of one length.
  for (size_t begin = 0, end = 0; begin < windows.size(); begin = end) {
    while (end < windows.size() && windows[end].length() == windows[begin].length() &&
           static_cast<int64_t>(end - begin) < options_.windows_at_once) {
      ++end;
    }
    const absl::Status status = ScoreBatch(text, windows.subspan(begin, end - begin), &out);
    if (!status.ok()) return status;
  }
  return out;
}

}  // namespace sieve
