#include "tests/model/attention/nsa_reference.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

namespace sieve {
namespace {

using Vector = std::vector<double>;

constexpr int64_t kBlock = 64;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

double Dot(const Vector& a, const Vector& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

double LogSumExp(const Vector& x) {
  const double max = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (const double v : x) sum += std::exp(v - max);
  return max + std::log(sum);
}

Vector Softmax(Vector x) {
  const double lse = x.empty() ? 0 : LogSumExp(x);
  for (double& v : x) v = std::exp(v - lse);
  return x;
}

// Over rows, by channel.
Vector Fold(const std::vector<Vector>& rows, const std::function<double(double, double)>& f) {
  Vector out = rows[0];
  for (size_t r = 1; r < rows.size(); ++r) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = f(out[i], rows[r][i]);
  }
  return out;
}
Vector Max(const std::vector<Vector>& rows) {
  return Fold(rows, [](double a, double b) { return std::max(a, b); });
}
Vector Min(const std::vector<Vector>& rows) {
  return Fold(rows, [](double a, double b) { return std::min(a, b); });
}
Vector Mean(const std::vector<Vector>& rows) {
  Vector out = Fold(rows, std::plus<double>());
  for (double& v : out) v /= static_cast<double>(rows.size());
  return out;
}

// matrix [rows, x.size()] times x.
Vector Times(const float* matrix, int64_t rows, const Vector& x) {
  Vector out(rows);
  for (int64_t r = 0; r < rows; ++r) {
    for (size_t i = 0; i < x.size(); ++i) out[r] += matrix[r * x.size() + i] * x[i];
  }
  return out;
}

Vector Rotate(const Vector& x, double position, const NsaSequence& s) {
  const size_t half = x.size() / 2;
  Vector out(x.size());
  for (size_t i = 0; i < half; ++i) {
    const size_t a = s.rope_interleaved ? 2 * i : i;
    const size_t b = s.rope_interleaved ? 2 * i + 1 : i + half;
    const double cosine = std::cos(position * s.frequencies[i]);
    const double sine = std::sin(position * s.frequencies[i]);
    out[a] = x[a] * cosine - x[b] * sine;
    out[b] = x[a] * sine + x[b] * cosine;
  }
  return out;
}

// An attended part: its keys' logits and values.
struct Part {
  Vector logits;
  std::vector<Vector> values;
  double lse() const { return logits.empty() ? -kInfinity : LogSumExp(logits); }
  Vector Output(int64_t d) const {
    Vector out(d);
    const Vector p = Softmax(logits);
    for (size_t j = 0; j < p.size(); ++j) {
      for (int64_t i = 0; i < d; ++i) out[i] += p[j] * values[j][i];
    }
    return out;
  }
};

struct Entry {
  Vector key, value;
  double bias = 0;
};

class Reference {
 public:
  explicit Reference(const NsaSequence& s)
      : s_(s),
        c_(s.config),
        w_(s.layer),
        d_(c_.head_dim),
        group_(c_.num_heads / c_.num_kv_heads),
        tau_(1 / std::sqrt(static_cast<double>(d_))) {}

  NsaResult Run() {
    NsaResult result;
    result.out.resize(s_.q.size());
    result.selected.resize(s_.tokens * c_.num_kv_heads);
    for (int64_t g = 0; g < c_.num_kv_heads; ++g) {
      for (int64_t t = 0; t < s_.tokens; ++t) {
        result.selected[t * c_.num_kv_heads + g] = Selected(t, g, &result.closest);
        for (int64_t h = g * group_; h < (g + 1) * group_; ++h) {
          const Vector o = Output(t, h, result.selected[t * c_.num_kv_heads + g]);
          for (int64_t i = 0; i < d_; ++i) {
            result.out[(t * c_.num_heads + h) * d_ + i] = static_cast<float>(o[i]);
          }
        }
      }
    }
    return result;
  }

 private:
  Vector Row(const std::vector<float>& x, int64_t row, int64_t size) const {
    return Vector(x.begin() + row * size, x.begin() + (row + 1) * size);
  }
  Vector Q(int64_t t, int64_t h) const { return Row(s_.q, t * c_.num_heads + h, d_); }
  Vector K(int64_t t, int64_t g) const { return Row(s_.k, t * c_.num_kv_heads + g, d_); }
  Vector V(int64_t t, int64_t g) const { return Row(s_.v, t * c_.num_kv_heads + g, d_); }
  std::vector<Vector> Keys(int64_t b, int64_t g) const {
    std::vector<Vector> keys;
    for (int64_t t = b * kBlock; t < (b + 1) * kBlock; ++t) keys.push_back(K(t, g));
    return keys;
  }

  bool InBase(int64_t b, int64_t t) const {
    return b < c_.sink_blocks || b >= t / kBlock - c_.window_blocks;
  }
  std::vector<int64_t> Candidates(int64_t t) const {
    std::vector<int64_t> out;
    for (int64_t b = 0; b < t / kBlock; ++b) {
      if (!InBase(b, t)) out.push_back(b);
    }
    return out;
  }

  std::vector<int64_t> Selected(int64_t t, int64_t g, double* closest) {
    const std::vector<int64_t> candidates = Candidates(t);
    if (static_cast<int64_t>(candidates.size()) <= c_.selected_blocks) return candidates;
    const int64_t tile = t / c_.query_tile;
    const bool shared = c_.query_tile > 1 && (tile + 1) * c_.query_tile <= s_.prompt;
    Vector scores(candidates.size());
    const int64_t first = shared ? tile * c_.query_tile : t;
    const int64_t last = shared ? first + c_.query_tile - 1 : t;
    for (int64_t u = first; u <= last; ++u) {
      const Vector& own = CachedScores(u, g, candidates);
      for (size_t i = 0; i < own.size(); ++i) scores[i] += own[i];
    }
    std::vector<int64_t> order(candidates.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
    if (const int64_t n = c_.selected_blocks; n > 0) {
      *closest = std::min(*closest, scores[order[n - 1]] - scores[order[n]]);
    }
    std::vector<int64_t> out;
    for (int64_t i = 0; i < c_.selected_blocks; ++i) out.push_back(candidates[order[i]]);
    std::sort(out.begin(), out.end());
    return out;
  }

  const Vector& CachedScores(int64_t t, int64_t g, const std::vector<int64_t>& candidates) {
    Vector& scores = scores_[{t, g}];
    if (scores.empty()) scores = Scores(t, g, candidates);
    return scores;
  }

  Vector Scores(int64_t t, int64_t g, const std::vector<int64_t>& candidates) {
    Vector scores(candidates.size());
    for (int64_t h = g * group_; h < (g + 1) * group_; ++h) {
      Vector logits;
      for (const int64_t b : candidates) logits.push_back(Logit(t, h, b));
      const Vector p = Softmax(logits);
      for (size_t i = 0; i < p.size(); ++i) scores[i] += p[i];
    }
    return scores;
  }

  double Logit(int64_t t, int64_t h, int64_t b) {
    const int64_t g = h / group_;
    const Vector q = Q(t, h);
    const std::vector<Vector> keys = Keys(b, g);
    const double mean = tau_ * Dot(q, Mean(keys));
    switch (c_.selector) {
      case Selector::kMean:
        return mean;
      case Selector::kMax:
        return tau_ * Dot(q, Max(keys));
      case Selector::kQuest:
        return Quest(q, keys);
      case Selector::kQuestMean:
        return (Quest(q, keys) + mean) / 2;
      case Selector::kCompressed:
        return LogSumExp(EntryLogits(t, h, {b}).logits);
      case Selector::kIndex:
        return Index(q, keys, g);
      case Selector::kGate:
        return Gate(t, g, b);
      case Selector::kOracle: {
        Vector logits;
        for (const Vector& k : keys) logits.push_back(tau_ * Dot(q, k));
        return LogSumExp(logits);
      }
    }
    return 0;
  }

  double Quest(const Vector& q, const std::vector<Vector>& keys) const {
    const Vector min = Min(keys), max = Max(keys);
    double sum = 0;
    for (int64_t i = 0; i < d_; ++i) sum += std::max(q[i] * min[i], q[i] * max[i]);
    return tau_ * sum;
  }

  double Index(const Vector& q, const std::vector<Vector>& keys, int64_t g) const {
    const int64_t r = c_.index_rank;
    const Vector mean = Mean(keys);
    const auto project = [&](const std::vector<float>& w, const Vector& x) {
      Vector out(r);
      for (int64_t i = 0; i < d_; ++i) {
        for (int64_t j = 0; j < r; ++j) out[j] += w[(g * d_ + i) * r + j] * x[i];
      }
      return out;
    };
    std::vector<Vector> codes;
    for (const Vector& k : keys) {
      Vector centred = k;
      for (int64_t i = 0; i < d_; ++i) centred[i] -= mean[i];
      codes.push_back(project(w_.index_k, centred));
    }
    if (c_.index_bits == 4) {
      const Vector lo = Min(codes), hi = Max(codes);
      for (Vector& c : codes) {
        for (int64_t j = 0; j < r; ++j) {
          const double step = (hi[j] - lo[j]) / 15;
          if (step > 0) c[j] = lo[j] + step * std::nearbyint((c[j] - lo[j]) / step);
        }
      }
    }
    const Vector projected = project(w_.index_q, q);
    Vector logits;
    for (const Vector& c : codes) logits.push_back(tau_ * (Dot(q, mean) + Dot(projected, c)));
    return LogSumExp(logits);
  }

  double Gate(int64_t t, int64_t g, int64_t b) const {
    Vector queries;
    for (int64_t h = g * group_; h < (g + 1) * group_; ++h) {
      const Vector q = Rotate(Q(t, h), -static_cast<double>(t), s_);
      queries.insert(queries.end(), q.begin(), q.end());
    }
    std::vector<Vector> keys;
    for (int64_t j = b * kBlock; j < (b + 1) * kBlock; ++j) {
      keys.push_back(Rotate(K(j, g), -static_cast<double>(j), s_));
    }
    Vector features;
    for (const Vector& part : {Mean(keys), Max(keys), Min(keys)}) {
      features.insert(features.end(), part.begin(), part.end());
    }
    const Vector of_query = Times(w_.gate_q.data() + g * d_ * group_ * d_, d_, queries);
    const Vector of_block = Times(w_.gate_k.data() + g * d_ * 3 * d_, d_, features);
    return tau_ * Dot(Rotate(of_query, static_cast<double>(t), s_),
                      Rotate(of_block, static_cast<double>(b * kBlock), s_));
  }

  Vector Mlp(const std::vector<float>& up, const std::vector<float>& down, int64_t g,
             const std::vector<Vector>& rows) const {
    Vector x;
    for (const Vector& row : rows) x.insert(x.end(), row.begin(), row.end());
    const int64_t head = c_.shared_compression ? 0 : g, inner = c_.inner_size();
    Vector hidden = Times(up.data() + head * inner * x.size(), inner, x);
    for (double& v : hidden) v = v / 2 * (1 + std::erf(v / std::sqrt(2.0)));
    return Times(down.data() + head * d_ * inner, d_, hidden);
  }

  Vector Pool(Compression method, const std::vector<Vector>& rows, const std::vector<float>& up,
              const std::vector<float>& down, int64_t g) const {
    if (method == Compression::kMax) return Max(rows);
    Vector out = Mean(rows);
    if (method != Compression::kMlp) return out;
    const Vector more = Mlp(up, down, g, rows);
    for (int64_t i = 0; i < d_; ++i) out[i] += more[i];
    return out;
  }

  // The entry of the tokens from `first` on.
  Entry EntryAt(int64_t first, int64_t g) const {
    const int64_t l = c_.compression_block;
    std::vector<Vector> keys, values, placed_keys, placed_values;
    for (int64_t j = 0; j < l; ++j) {
      keys.push_back(K(first + j, g));
      values.push_back(V(first + j, g));
      placed_keys.push_back(keys.back());
      placed_values.push_back(values.back());
      for (int64_t i = 0; i < d_ && c_.position_embeddings; ++i) {
        placed_keys.back()[i] += w_.key_position[(g * l + j) * d_ + i];
        placed_values.back()[i] += w_.value_position[(g * l + j) * d_ + i];
      }
    }
    if (c_.key_compression != Compression::kTilted) {
      return {Pool(c_.key_compression, placed_keys, w_.key_up, w_.key_down, g),
              Pool(c_.value_compression, placed_values, w_.value_up, w_.value_down, g),
              std::log(static_cast<double>(l))};
    }
    const Vector u = Row(w_.tilt, g, d_);
    Vector logits;
    for (const Vector& k : keys) logits.push_back(tau_ * Dot(u, k));
    const Vector p = Softmax(logits);
    Entry entry = {Vector(d_), Vector(d_), 0};
    for (int64_t j = 0; j < l; ++j) {
      for (int64_t i = 0; i < d_; ++i) {
        entry.key[i] += p[j] * keys[j][i];
        entry.value[i] += p[j] * values[j][i];
      }
    }
    if (c_.value_residual_mlp) {
      const Vector more = Mlp(w_.value_up, w_.value_down, g, placed_values);
      for (int64_t i = 0; i < d_; ++i) entry.value[i] += more[i];
    }
    entry.bias = LogSumExp(logits) - tau_ * Dot(u, entry.key);
    return entry;
  }

  const Entry& CachedEntry(int64_t first, int64_t g) {
    const int64_t index = first / c_.compression_block * c_.num_kv_heads + g;
    if (static_cast<int64_t>(entries_.size()) <= index) entries_.resize(index + 1);
    if (entries_[index].key.empty()) entries_[index] = EntryAt(first, g);
    return entries_[index];
  }

  Part EntryLogits(int64_t t, int64_t h, const std::vector<int64_t>& blocks) {
    Part part;
    const Vector q = Q(t, h);
    const double beta = w_.bias.empty() ? 0 : w_.bias[h];
    for (const int64_t b : blocks) {
      for (int64_t j = 0; j < kBlock; j += c_.compression_block) {
        const Entry& entry = CachedEntry(b * kBlock + j, h / group_);
        double logit = tau_ * Dot(q, entry.key) + entry.bias + beta;
        if (c_.key_compression == Compression::kTilted) {
          logit += tau_ * Dot(q, Row(w_.query_shift, h, d_));
        }
        part.logits.push_back(logit);
        part.values.push_back(entry.value);
      }
    }
    return part;
  }

  // The tokens up to t whose block `in` says.
  Part Exact(int64_t t, int64_t h, const std::function<bool(int64_t)>& in) const {
    Part part;
    for (int64_t j = 0; j <= t; ++j) {
      if (!in(j / kBlock)) continue;
      part.logits.push_back(tau_ * Dot(Q(t, h), K(j, h / group_)));
      part.values.push_back(V(j, h / group_));
    }
    return part;
  }

  double Gamma(int64_t branch, int64_t t, int64_t h) const {
    const Vector x = Row(s_.hidden, t, c_.hidden_size);
    return Dot(Row(w_.combine_weight, branch * c_.num_heads + h, c_.hidden_size), x) +
           w_.combine_bias[branch * c_.num_heads + h];
  }

  Vector Output(int64_t t, int64_t h, const std::vector<int64_t>& selected) {
    const auto is_selected = [&](int64_t b) {
      return std::find(selected.begin(), selected.end(), b) != selected.end();
    };
    const auto in_base = [&](int64_t b) { return InBase(b, t); };
    std::vector<Part> parts;
    Vector weights;
    if (c_.combiner == Combiner::kLiteral) {
      std::vector<int64_t> past(t / kBlock);
      std::iota(past.begin(), past.end(), 0);
      parts = {EntryLogits(t, h, past), Exact(t, h, is_selected), Exact(t, h, in_base)};
      for (int64_t i = 0; i < 3; ++i) weights.push_back(1 / (1 + std::exp(-Gamma(i, t, h))));
      return WeightedSum(parts, weights);
    }
    std::vector<int64_t> rest;
    for (const int64_t b : Candidates(t)) {
      if (!is_selected(b)) rest.push_back(b);
    }
    const Part all = Exact(t, h, [&](int64_t b) { return is_selected(b) || in_base(b); });
    if (rest.empty() || !c_.tail) return all.Output(d_);
    if (c_.branch_biases) {
      parts = {EntryLogits(t, h, rest), Exact(t, h, is_selected), Exact(t, h, in_base)};
      for (int64_t i = 0; i < 3; ++i) weights.push_back(parts[i].lse() + Gamma(i, t, h));
    } else {
      parts = {EntryLogits(t, h, rest), all};
      weights = {parts[0].lse() + Gamma(0, t, h), parts[1].lse()};
    }
    return WeightedSum(parts, Softmax(weights));
  }

  Vector WeightedSum(const std::vector<Part>& parts, const Vector& weights) const {
    Vector out(d_);
    for (size_t p = 0; p < parts.size(); ++p) {
      const Vector o = parts[p].Output(d_);
      for (int64_t i = 0; i < d_; ++i) out[i] += weights[p] * o[i];
    }
    return out;
  }

  const NsaSequence& s_;
  const AdapterConfig& c_;
  const AdapterLayer& w_;
  const int64_t d_;
  const int64_t group_;
  const double tau_;
  // Made when first asked for.
  std::vector<Entry> entries_;
  std::map<std::pair<int64_t, int64_t>, Vector> scores_;
};

}  // namespace

NsaResult NsaReference(const NsaSequence& sequence) { return Reference(sequence).Run(); }

}  // namespace sieve
