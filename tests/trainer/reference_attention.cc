#include "tests/trainer/reference_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

namespace sieve {
namespace {

using Vector = std::vector<double>;
constexpr int64_t kBlock = 64;

double Dot(const double* a, const double* b, int64_t n) {
  return std::inner_product(a, a + n, b, 0.0);
}

double LogSumExp(const Vector& x) {
  if (x.empty()) return -std::numeric_limits<double>::infinity();
  const double top = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (double value : x) sum += std::exp(value - top);
  return top + std::log(sum);
}

double Gelu(double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); }
double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// Weighted values: pairs of a logit and a value; the log-sum-exp and the softmax's output.
struct Branch {
  Vector logits;
  std::vector<const double*> values;

  double lse() const { return LogSumExp(logits); }
  Vector output(int64_t d) const {
    Vector out(d);
    const double total = lse();
    for (size_t i = 0; i < logits.size(); ++i) {
      for (int64_t c = 0; c < d; ++c) out[c] += std::exp(logits[i] - total) * values[i][c];
    }
    return out;
  }
};

struct Entry {
  Vector k, v;
  double bias = 0;
};

class Reference {
 public:
  Reference(const AdapterConfig& config, const AdapterLayer& layer, const ReferenceInputs& in)
      : c_(config),
        w_(layer),
        in_(in),
        d_(config.head_dim),
        group_(config.num_heads / config.num_kv_heads),
        tau_(1 / std::sqrt(static_cast<double>(config.head_dim))) {}

  const double* q(int64_t t, int64_t h) const { return &in_.q[(t * c_.num_heads + h) * d_]; }
  const double* k(int64_t t, int64_t g) const { return &in_.k[(t * c_.num_kv_heads + g) * d_]; }
  const double* v(int64_t t, int64_t g) const { return &in_.v[(t * c_.num_kv_heads + g) * d_]; }
  const double* raw_q(int64_t t, int64_t h) const {
    return &in_.unrotated_q[(t * c_.num_heads + h) * d_];
  }
  const double* raw_k(int64_t t, int64_t g) const {
    return &in_.unrotated_k[(t * c_.num_kv_heads + g) * d_];
  }

  bool InBase(int64_t t, int64_t b) const {
    const int64_t own = t / kBlock;
    return b < c_.sink_blocks || b >= own - c_.window_blocks;
  }

  std::vector<int64_t> Candidates(int64_t t) const {
    std::vector<int64_t> out;
    for (int64_t b = 0; b < t / kBlock; ++b) {
      if (!InBase(t, b)) out.push_back(b);
    }
    return out;
  }

  // By channel, of block b's keys.
  Vector Pool(int64_t b, int64_t g, bool raw, const char* how) const {
    Vector out(d_);
    for (int64_t c = 0; c < d_; ++c) {
      double sum = 0, low = 1e300, high = -1e300;
      for (int64_t t = b * kBlock; t < (b + 1) * kBlock; ++t) {
        const double value = (raw ? raw_k(t, g) : k(t, g))[c];
        sum += value;
        low = std::min(low, value);
        high = std::max(high, value);
      }
      out[c] = how[1] == 'e' ? sum / kBlock : how[1] == 'i' ? low : high;
    }
    return out;
  }

  Vector Rotated(const Vector& x, double position) const {
    Vector out(d_);
    for (int64_t i = 0; i < d_ / 2; ++i) {
      const double angle = position * in_.frequencies[i];
      const double a = x[i], b = x[i + d_ / 2];
      out[i] = a * std::cos(angle) - b * std::sin(angle);
      out[i + d_ / 2] = b * std::cos(angle) + a * std::sin(angle);
    }
    return out;
  }

  double IndexLogit(int64_t t, int64_t h, int64_t b) const {
    const int64_t g = h / group_, r = c_.index_rank;
    const Vector mean = Pool(b, g, false, "mean");
    std::vector<Vector> codes(kBlock, Vector(r));
    for (int64_t j = 0; j < kBlock; ++j) {
      for (int64_t i = 0; i < r; ++i) {
        for (int64_t c = 0; c < d_; ++c) {
          codes[j][i] += w_.index_k[(g * d_ + c) * r + i] * (k(b * kBlock + j, g)[c] - mean[c]);
        }
      }
    }
    for (int64_t i = 0; c_.index_bits == 4 && i < r; ++i) {
      double low = 1e300, high = -1e300;
      for (const Vector& code : codes) {
        low = std::min(low, code[i]);
        high = std::max(high, code[i]);
      }
      const double step = (high - low) / 15;
      for (Vector& code : codes) {
        if (step > 0) code[i] = low + step * std::nearbyint((code[i] - low) / step);
      }
    }
    Vector low_rank(r);
    for (int64_t i = 0; i < r; ++i) {
      for (int64_t c = 0; c < d_; ++c) low_rank[i] += w_.index_q[(g * d_ + c) * r + i] * q(t, h)[c];
    }
    Vector logits;
    for (const Vector& code : codes) {
      logits.push_back(tau_ *
                       (Dot(q(t, h), mean.data(), d_) + Dot(low_rank.data(), code.data(), r)));
    }
    return LogSumExp(logits);
  }

  double GateLogit(int64_t t, int64_t h, int64_t b) const {
    const int64_t g = h / group_;
    Vector query(d_), key(d_), features;
    for (const char* how : {"mean", "max", "min"}) {
      const Vector pooled = Pool(b, g, true, how);
      features.insert(features.end(), pooled.begin(), pooled.end());
    }
    for (int64_t c = 0; c < d_; ++c) {
      for (int64_t i = 0; i < group_ * d_; ++i) {
        query[c] +=
            w_.gate_q[(g * d_ + c) * group_ * d_ + i] * raw_q(t, g * group_ + i / d_)[i % d_];
      }
      for (int64_t i = 0; i < 3 * d_; ++i)
        key[c] += w_.gate_k[(g * d_ + c) * 3 * d_ + i] * features[i];
    }
    return tau_ * Dot(Rotated(query, t).data(), Rotated(key, b * kBlock).data(), d_);
  }

  double Logit(int64_t t, int64_t h, int64_t b) const {
    const int64_t g = h / group_;
    const double* query = q(t, h);
    const double mean = tau_ * Dot(query, Pool(b, g, false, "mean").data(), d_);
    const Vector low = Pool(b, g, false, "min"), high = Pool(b, g, false, "max");
    double quest = 0;
    for (int64_t c = 0; c < d_; ++c)
      quest += tau_ * std::max(query[c] * low[c], query[c] * high[c]);
    switch (c_.selector) {
      case Selector::kMean:
        return mean;
      case Selector::kMax:
        return tau_ * Dot(query, high.data(), d_);
      case Selector::kQuest:
        return quest;
      case Selector::kQuestMean:
        return (quest + mean) / 2;
      case Selector::kIndex:
        return IndexLogit(t, h, b);
      case Selector::kGate:
        return GateLogit(t, h, b);
      case Selector::kCompressed: {
        Vector logits;
        for (const Entry& entry : EntriesOf(b, g)) logits.push_back(EntryLogit(t, h, entry));
        return LogSumExp(logits);
      }
      case Selector::kOracle: {
        Vector logits;
        for (int64_t j = 0; j < kBlock; ++j)
          logits.push_back(tau_ * Dot(query, k(b * kBlock + j, g), d_));
        return LogSumExp(logits);
      }
    }
    return 0;
  }

  // The score of each candidate of t, summed over the group.
  Vector Scores(int64_t t, int64_t g, const std::vector<int64_t>& candidates) const {
    Vector scores(candidates.size());
    for (int64_t h = g * group_; h < (g + 1) * group_; ++h) {
      Vector logits;
      for (int64_t b : candidates) logits.push_back(Logit(t, h, b));
      const double total = LogSumExp(logits);
      for (size_t i = 0; i < logits.size(); ++i) scores[i] += std::exp(logits[i] - total);
    }
    return scores;
  }

  std::vector<int64_t> Select(int64_t t, int64_t g) const {
    const std::vector<int64_t> candidates = Candidates(t);
    Vector scores(candidates.size());
    const int64_t begin = t / c_.query_tile * c_.query_tile;
    const bool whole = begin + c_.query_tile <= in_.tokens;
    const int64_t first = whole ? begin : t, last = whole ? begin + c_.query_tile - 1 : t;
    for (int64_t other = first; other <= last; ++other) {
      Vector& more = scores_[{other, g}];
      if (more.empty()) more = Scores(other, g, candidates);
      for (size_t i = 0; i < scores.size(); ++i) scores[i] += more[i];
    }
    std::vector<int64_t> order(candidates.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
    order.resize(std::min<size_t>(order.size(), c_.selected_blocks));
    std::vector<int64_t> out;
    for (int64_t i : order) out.push_back(candidates[i]);
    std::sort(out.begin(), out.end());
    return out;
  }

  Vector Mlp(const std::vector<float>& up, const std::vector<float>& down, int64_t g,
             const Vector& x) const {
    const int64_t head = c_.shared_compression ? 0 : g, inner = c_.inner_size();
    const int64_t inputs = x.size();
    Vector out(d_);
    for (int64_t i = 0; i < inner; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < inputs; ++j) sum += up[(head * inner + i) * inputs + j] * x[j];
      for (int64_t c = 0; c < d_; ++c) out[c] += down[(head * d_ + c) * inner + i] * Gelu(sum);
    }
    return out;
  }

  // Tokens of an entry with their position embeddings, [l, d].
  Vector Placed(int64_t first, int64_t g, bool keys) const {
    const std::vector<float>& positions = keys ? w_.key_position : w_.value_position;
    const int64_t l = c_.compression_block;
    Vector out(l * d_);
    for (int64_t i = 0; i < l * d_; ++i) {
      out[i] = (keys ? k(first + i / d_, g) : v(first + i / d_, g))[i % d_];
      if (!positions.empty()) out[i] += positions[g * l * d_ + i];
    }
    return out;
  }

  Vector Compressed(Compression kind, int64_t first, int64_t g, bool keys) const {
    const Vector x = Placed(first, g, keys);
    const int64_t l = c_.compression_block;
    Vector mean(d_), high(d_, -1e300);
    for (int64_t i = 0; i < l * d_; ++i) {
      mean[i % d_] += x[i] / l;
      high[i % d_] = std::max(high[i % d_], x[i]);
    }
    if (kind == Compression::kMax) return high;
    if (kind == Compression::kMlp) {
      const Vector more =
          keys ? Mlp(w_.key_up, w_.key_down, g, x) : Mlp(w_.value_up, w_.value_down, g, x);
      for (int64_t c = 0; c < d_; ++c) mean[c] += more[c];
    }
    return mean;
  }

  Entry EntryAt(int64_t first, int64_t g) const {
    const int64_t l = c_.compression_block;
    Entry out{.k = Vector(d_), .v = Vector(d_)};
    if (c_.key_compression != Compression::kTilted) {
      out.k = Compressed(c_.key_compression, first, g, true);
      out.v = Compressed(c_.value_compression, first, g, false);
      out.bias = std::log(static_cast<double>(l));
      return out;
    }
    const Vector u(&w_.tilt[g * d_], &w_.tilt[g * d_] + d_);
    Vector logits;
    for (int64_t j = 0; j < l; ++j) logits.push_back(tau_ * Dot(u.data(), k(first + j, g), d_));
    const double total = LogSumExp(logits);
    for (int64_t j = 0; j < l; ++j) {
      for (int64_t c = 0; c < d_; ++c) {
        out.k[c] += std::exp(logits[j] - total) * k(first + j, g)[c];
        out.v[c] += std::exp(logits[j] - total) * v(first + j, g)[c];
      }
    }
    out.bias = total - tau_ * Dot(u.data(), out.k.data(), d_);
    if (c_.value_residual_mlp) {
      const Vector more = Mlp(w_.value_up, w_.value_down, g, Placed(first, g, false));
      for (int64_t c = 0; c < d_; ++c) out.v[c] += more[c];
    }
    return out;
  }

  std::vector<Entry> EntriesOf(int64_t b, int64_t g) const {
    std::vector<Entry> out;
    for (int64_t first = b * kBlock; first < (b + 1) * kBlock; first += c_.compression_block) {
      out.push_back(EntryAt(first, g));
    }
    return out;
  }

  double EntryLogit(int64_t t, int64_t h, const Entry& entry) const {
    double logit = tau_ * Dot(q(t, h), entry.k.data(), d_) + entry.bias;
    for (int64_t c = 0; !w_.query_shift.empty() && c < d_; ++c) {
      logit += tau_ * q(t, h)[c] * w_.query_shift[h * d_ + c];
    }
    return logit + (w_.bias.empty() ? 0 : w_.bias[h]);
  }

  double Gate(int64_t part, int64_t t, int64_t h) const {
    const int64_t row = part * c_.num_heads + h;
    double sum = w_.combine_bias[row];
    for (int64_t i = 0; i < c_.hidden_size; ++i) {
      sum += w_.combine_weight[row * c_.hidden_size + i] * in_.x[t * c_.hidden_size + i];
    }
    return sum;
  }

  void Add(Branch* branch, int64_t t, int64_t h, int64_t b) const {
    for (int64_t j = b * kBlock; j < std::min((b + 1) * kBlock, t + 1); ++j) {
      branch->logits.push_back(tau_ * Dot(q(t, h), k(j, h / group_), d_));
      branch->values.push_back(v(j, h / group_));
    }
  }

  Vector Attend(int64_t t, int64_t h, const std::vector<int64_t>& selected,
                const std::vector<std::vector<Entry>>& entries) const {
    Branch base, chosen, rest;
    for (int64_t b = 0; b <= t / kBlock; ++b) {
      const bool is_chosen = std::count(selected.begin(), selected.end(), b) > 0;
      if (InBase(t, b)) Add(&base, t, h, b);
      if (is_chosen) Add(&chosen, t, h, b);
      const bool literal = c_.combiner == Combiner::kLiteral;
      const bool coarse = literal ? b < t / kBlock : !InBase(t, b) && !is_chosen;
      for (size_t i = 0; coarse && (literal || c_.tail) && i < entries[b].size(); ++i) {
        rest.logits.push_back(EntryLogit(t, h, entries[b][i]));
        rest.values.push_back(entries[b][i].v.data());
      }
    }
    const Branch* branches[] = {&rest, &chosen, &base};
    Vector out(d_), parts(3);
    for (int i = 0; i < 3; ++i) {
      const bool has_gate = c_.combined_parts() == 3 || (c_.combined_parts() == 1 && i == 0);
      const bool without_rest = c_.combiner == Combiner::kLogSumExp && rest.logits.empty();
      parts[i] = branches[i]->lse() + (has_gate && !without_rest ? Gate(i, t, h) : 0);
    }
    const double total = LogSumExp(parts);
    for (int i = 0; i < 3; ++i) {
      const Vector one = branches[i]->output(d_);
      const double weight =
          c_.combiner == Combiner::kLiteral ? Sigmoid(Gate(i, t, h)) : std::exp(parts[i] - total);
      for (int64_t c = 0; c < d_; ++c) out[c] += weight * one[c];
    }
    return out;
  }

 private:
  const AdapterConfig& c_;
  const AdapterLayer& w_;
  const ReferenceInputs& in_;
  const int64_t d_, group_;
  const double tau_;
  mutable std::map<std::pair<int64_t, int64_t>, Vector> scores_;  // by token and key/value head
};

}  // namespace

std::vector<double> ReferenceAttention(const AdapterConfig& config, const AdapterLayer& layer,
                                       const ReferenceInputs& inputs,
                                       std::vector<std::vector<int64_t>>* selected) {
  const Reference reference(config, layer, inputs);
  std::vector<std::vector<std::vector<Entry>>> entries(config.num_kv_heads);
  for (int64_t g = 0; g < config.num_kv_heads; ++g) {
    for (int64_t b = 0; b < inputs.tokens / kBlock + 1; ++b) {
      const bool whole = (b + 1) * kBlock <= inputs.tokens && config.has_compressed_branch();
      entries[g].push_back(whole ? reference.EntriesOf(b, g) : std::vector<Entry>());
    }
  }
  std::vector<double> out;
  for (int64_t t = 0; t < inputs.tokens; ++t) {
    for (int64_t h = 0; h < config.num_heads; ++h) {
      const int64_t group = config.num_heads / config.num_kv_heads, g = h / group;
      if (h % group == 0) selected->push_back(reference.Select(t, g));
      const std::vector<double> one = reference.Attend(t, h, selected->back(), entries[g]);
      out.insert(out.end(), one.begin(), one.end());
    }
  }
  return out;
}

}  // namespace sieve
