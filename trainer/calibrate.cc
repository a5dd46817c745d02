#include "trainer/calibrate.h"

#include <cmath>
#include <random>
#include <string>
#include <tuple>

namespace sieve {
namespace {

constexpr int64_t kBlock = 64;
constexpr double kRidge = 1e-4;  // of the mean of the diagonal
constexpr double kTilt = 1.5;

// Sums over tokens, by key/value head, float64.
struct Moments {
  at::Tensor q, k;   // [K, d, d], second moments
  at::Tensor q_sum;  // [K, d]
  int64_t q_count = 0, k_count = 0;

  void Add(const AttentionInputs& in) {
    const int64_t kv_heads = in.k.size(1), d = in.k.size(3);
    const int64_t whole = in.k.size(2) / kBlock * kBlock;
    const at::Tensor queries = in.q.to(at::kFloat)
                                   .unflatten(1, {kv_heads, -1})
                                   .transpose(0, 1)
                                   .flatten(1, 3);  // [K, N G T, d]
    const at::Tensor blocks = in.k.narrow(2, 0, whole).to(at::kFloat).unflatten(2, {-1, kBlock});
    const at::Tensor keys =
        (blocks - blocks.mean(3, /*keepdim=*/true)).transpose(0, 1).reshape({kv_heads, -1, d});
    Accumulate(&q, at::matmul(queries.transpose(1, 2), queries));
    Accumulate(&k, at::matmul(keys.transpose(1, 2), keys));
    Accumulate(&q_sum, queries.sum(1));
    q_count += queries.size(1);
    k_count += keys.size(1);
  }

 private:
  static void Accumulate(at::Tensor* sum, const at::Tensor& more) {
    const at::Tensor wide = more.to(at::kCPU, at::kDouble);
    *sum = sum->defined() ? *sum + wide : wide;
  }
};

at::Tensor WithRidge(const at::Tensor& moment) {
  const at::Tensor mean = moment.diagonal(0, -2, -1).mean(-1).unsqueeze(-1).unsqueeze(-1);
  return moment + kRidge * mean * at::eye(moment.size(-1), moment.options());
}

// A symmetric positive matrix to a power.
at::Tensor Power(const at::Tensor& matrix, double exponent) {
  const auto [values, vectors] = at::linalg_eigh(matrix);
  const at::Tensor scaled = vectors * values.clamp_min(1e-30).pow(exponent).unsqueeze(-2);
  return at::matmul(scaled, vectors.transpose(-1, -2));
}

void SetIndex(const Moments& moments, int64_t rank, LayerTensors* layer) {
  const at::Tensor c_q = WithRidge(moments.q / moments.q_count);
  const at::Tensor c_k = WithRidge(moments.k / moments.k_count);
  const at::Tensor root = Power(c_q, 0.5);
  const auto svd = at::linalg_svd(at::matmul(root, Power(c_k, 0.5)), /*full_matrices=*/false);
  const at::Tensor u = std::get<0>(svd).narrow(-1, 0, rank);
  const auto set = [layer](const char* name, const at::Tensor& value) {
    (*layer)[name].copy_(value);
  };
  set("index.q", at::matmul(Power(c_q, -0.5), u));
  set("index.k", at::matmul(root, u));
}

// Normal values of deviation 1/√inputs for matrices that other matrices multiply, zero for others.
void SetRandomly(const std::string& name, std::mt19937_64& random, at::Tensor* tensor) {
  if (!name.starts_with("gate.") && !name.ends_with("_up")) return;
  std::normal_distribution<float> normal(0, 1 / std::sqrt(static_cast<float>(tensor->size(-1))));
  at::Tensor host = at::empty(tensor->sizes(), at::kFloat);
  for (int64_t i = 0; i < host.numel(); ++i) host.data_ptr<float>()[i] = normal(random);
  tensor->copy_(host);
}

std::vector<Moments> Measure(const FrozenLlama& llama, const std::vector<at::Tensor>& sequences) {
  std::vector<Moments> moments(llama.config().num_layers);
  for (const at::Tensor& tokens : sequences) {
    at::Tensor hidden = llama.Embed(tokens);
    for (int64_t l = 0; l < llama.config().num_layers; ++l) {
      const AttentionInputs in = llama.Project(l, hidden);
      moments[l].Add(in);
      hidden = hidden + llama.MergeHeads(l, DenseAttention(in));
      hidden = hidden + llama.FeedForward(l, hidden);
    }
  }
  return moments;
}

}  // namespace

std::vector<LayerTensors> Calibrate(const FrozenLlama& llama, const AdapterConfig& config,
                                    const std::vector<at::Tensor>& sequences,
                                    const CalibrationOptions& options) {
  const c10::NoGradGuard no_gradients;
  const std::vector<Moments> moments = Measure(llama, sequences);
  std::vector<LayerTensors> layers = ZeroLayers(config, llama.options().device());
  std::mt19937_64 random(options.seed);
  for (int64_t l = 0; l < config.num_layers; ++l) {
    for (auto& [name, tensor] : layers[l]) SetRandomly(name, random, &tensor);
    if (layers[l].contains("index.q")) SetIndex(moments[l], config.index_rank, &layers[l]);
    if (layers[l].contains("compress.tilt")) {
      layers[l]["compress.tilt"].copy_(kTilt * moments[l].q_sum / moments[l].q_count);
    }
    if (layers[l].contains("combine.bias") && config.combiner == Combiner::kLogSumExp) {
      layers[l]["combine.bias"].select(0, 0).fill_(options.tail_bias);
    }
  }
  return layers;
}

}  // namespace sieve
