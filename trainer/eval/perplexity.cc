#include "trainer/eval/perplexity.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "trainer/eval/interval_json.h"
#include "trainer/eval/statistics.h"
#include "trainer/eval/windows.h"

namespace sieve {
namespace {

using nlohmann::ordered_json;

struct Sums {
  double dense_nll = 0, sparse_nll = 0, kl = 0, agreements = 0, tokens = 0;

  void Add(const TokenScore& score) {
    dense_nll += score.dense_nll;
    sparse_nll += score.sparse_nll;
    kl += score.kl;
    agreements += score.agrees ? 1 : 0;
    tokens += 1;
  }
  void Add(const Sums& other) {
    dense_nll += other.dense_nll;
    sparse_nll += other.sparse_nll;
    kl += other.kl;
    agreements += other.agreements;
    tokens += other.tokens;
  }
  double Ratio() const { return std::exp((sparse_nll - dense_nll) / tokens); }
  double Kl() const { return kl / tokens; }
  double Agreement() const { return agreements / tokens; }
};

// A variant's sums of each window: the units of the bootstrap, for what stands in one window hangs
// together.
struct Measured {
  std::vector<Sums> windows;
  std::map<int64_t, std::vector<Sums>> buckets;  // by number, windows that have tokens in it

  void Append(const Measured& other) {
    windows.insert(windows.end(), other.windows.begin(), other.windows.end());
    for (const auto& [bucket, sums] : other.buckets) {
      buckets[bucket].insert(buckets[bucket].end(), sums.begin(), sums.end());
    }
  }
};

Sums Total(absl::Span<const Sums> windows) {
  Sums total;
  for (const Sums& one : windows) total.Add(one);
  return total;
}

ordered_json IntervalOf(absl::Span<const Sums> windows, uint64_t seed,
                        double (Sums::*value)() const) {
  return ToJson(BootstrapInterval(static_cast<int64_t>(windows.size()), seed,
                                  [&](absl::Span<const int32_t> chosen) {
                                    Sums total;
                                    for (const int32_t i : chosen) total.Add(windows[i]);
                                    return (total.*value)();
                                  }));
}

ordered_json Summary(absl::Span<const Sums> windows, uint64_t seed) {
  const Sums all = Total(windows);
  return {{"tokens", static_cast<int64_t>(all.tokens)},
          {"dense_perplexity", std::exp(all.dense_nll / all.tokens)},
          {"sparse_perplexity", std::exp(all.sparse_nll / all.tokens)},
          {"ratio", all.Ratio()},
          {"ratio_interval", IntervalOf(windows, seed, &Sums::Ratio)},
          {"kl", all.Kl()},
          {"kl_interval", IntervalOf(windows, seed, &Sums::Kl)},
          {"agreement", all.Agreement()},
          {"agreement_interval", IntervalOf(windows, seed, &Sums::Agreement)}};
}

// By window, for paired comparisons of two variants.
void AddWindowMeans(absl::Span<const Sums> windows, ordered_json* row) {
  ordered_json kl = ordered_json::array(), log_ratio = ordered_json::array();
  for (const Sums& window : windows) {
    kl.push_back(window.Kl());
    log_ratio.push_back((window.sparse_nll - window.dense_nll) / window.tokens);
  }
  (*row)["window_kl"] = kl;
  (*row)["window_log_ratio"] = log_ratio;
}

ordered_json BucketsJson(const Measured& measured, const PerplexityOptions& options) {
  ordered_json out = ordered_json::array();
  for (const auto& [bucket, windows] : measured.buckets) {
    ordered_json row = {{"from", bucket * options.bucket},
                        {"to", std::min((bucket + 1) * options.bucket, options.window)}};
    row.update(Summary(windows, options.seed));
    out.push_back(row);
  }
  return out;
}

ordered_json RowsJson(absl::Span<const Variant> variants, absl::Span<const Measured> measured,
                      int64_t longest, const PerplexityOptions& options) {
  ordered_json rows = ordered_json::array();
  for (size_t v = 0; v < variants.size(); ++v) {
    ordered_json row = VariantJson(variants[v]);
    row["density"] = Density(variants[v].config(), longest);
    row.update(Summary(measured[v].windows, options.seed));
    AddWindowMeans(measured[v].windows, &row);
    if (options.bucket > 0) row["buckets"] = BucketsJson(measured[v], options);
    rows.push_back(row);
  }
  return rows;
}

void AddWindow(const ScoredWindow& window, const WindowScores& scores, int64_t bucket_tokens,
               Measured* measured) {
  Sums all;
  std::map<int64_t, Sums> buckets;
  for (size_t i = 0; i < scores.size(); ++i) {
    all.Add(scores[i]);
    if (bucket_tokens == 0) continue;
    const int64_t position = window.scored - window.begin + static_cast<int64_t>(i);
    buckets[position / bucket_tokens].Add(scores[i]);
  }
  measured->windows.push_back(all);
  for (const auto& [bucket, sums] : buckets) measured->buckets[bucket].push_back(sums);
}

absl::StatusOr<std::vector<Measured>> Measure(WindowScorer* scorer, size_t variants,
                                              const TokenisedText& text,
                                              absl::Span<const ScoredWindow> windows,
                                              const PerplexityOptions& options) {
  std::vector<Measured> measured(variants);
  const size_t step = static_cast<size_t>(scorer->windows_at_once());
  for (size_t begin = 0; begin < windows.size(); begin += step) {
    const auto some = windows.subspan(begin, step);
    const auto scores = scorer->Score(text.tokens, some);
    if (!scores.ok()) return scores.status();
    for (size_t v = 0; v < variants; ++v) {
      for (size_t n = 0; n < some.size(); ++n) {
        AddWindow(some[n], (*scores)[v][n], options.bucket, &measured[v]);
      }
    }
    if (options.progress == nullptr) continue;
    *options.progress << text.name << ": window " << begin + some.size() << " of " << windows.size()
                      << std::endl;
  }
  return measured;
}

absl::Status Check(const PerplexityOptions& options) {
  if (options.window < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("a window of ", options.window, " tokens; expected at least 2"));
  }
  if (options.stride < 1 || options.stride > options.window) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a stride of ", options.stride, "; expected 1 to the window's ", options.window));
  }
  if (options.bucket >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("ranges of ", options.bucket, " positions"));
}

}  // namespace

absl::StatusOr<ordered_json> EvaluatePerplexity(WindowScorer* scorer,
                                                absl::Span<const Variant> variants,
                                                absl::Span<const TokenisedText> texts,
                                                const PerplexityOptions& options) {
  const absl::Status status = Check(options);
  if (!status.ok()) return status;
  ordered_json out = {{"window", options.window}, {"stride", options.stride}};
  out["texts"] = ordered_json::array();
  std::vector<Measured> all(variants.size());
  int64_t longest = 0;
  for (const TokenisedText& text : texts) {
    const auto windows = ScoredWindows(static_cast<int64_t>(text.tokens.size()), options.window,
                                       options.stride, options.max_windows);
    if (windows.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(text.name, " has ", text.tokens.size(), " tokens; to predict one takes 2"));
    }
    const auto measured = Measure(scorer, variants.size(), text, windows, options);
    if (!measured.ok()) return measured.status();
    for (size_t v = 0; v < variants.size(); ++v) all[v].Append((*measured)[v]);
    longest = std::max(longest, windows[0].length());
    out["texts"].push_back({{"text", text.name},
                            {"text_tokens", text.tokens.size()},
                            {"windows", windows.size()},
                            {"rows", RowsJson(variants, *measured, windows[0].length(), options)}});
  }
  if (texts.size() > 1) out["all"] = RowsJson(variants, all, longest, options);
  return out;
}

}  // namespace sieve
