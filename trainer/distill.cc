#include "trainer/distill.h"

#include "trainer/logit_kl.h"
#include "trainer/sparse_attention.h"

namespace sieve {
namespace {

SparseAttentionOptions AttentionOptions(const AdapterConfig& config,
                                        const DistillOptions& options) {
  const bool learned = config.selector == Selector::kIndex || config.selector == Selector::kGate;
  return {.selected_blocks = options.selected_blocks,
          .query_chunk = options.query_chunk,
          .selector_loss = learned && options.selector_weight > 0};
}

int64_t SparseLayers(const AdapterConfig& config) {
  return config.num_layers - static_cast<int64_t>(config.dense_layers.size());
}

void AddDense(const FrozenLlama& llama, int64_t layer, const at::Tensor& attended,
              at::Tensor* hidden) {
  *hidden = *hidden + attended;
  *hidden = *hidden + llama.FeedForward(layer, *hidden);
}

// One layer of DistillLayers: gradients, and both terms.
void DistillLayer(const FrozenLlama& llama, const AdapterConfig& config, int64_t l,
                  const LayerTensors& layer, const AttentionInputs& in, const at::Tensor& dense,
                  const DistillOptions& options, at::Tensor* losses) {
  const c10::AutoGradMode gradients(true);
  const SparseAttentionResult sparse =
      SparseAttention(llama, config, layer, in, AttentionOptions(config, options));
  const at::Tensor wide = dense.to(at::kFloat);
  const at::Tensor error = llama.MergeHeads(l, sparse.heads).to(at::kFloat) - wide;
  const at::Tensor output = error.square().sum() / wide.square().sum();
  const at::Tensor loss = output + options.selector_weight * sparse.selector_loss;
  const double share = options.weight / static_cast<double>(SparseLayers(config));
  if (loss.requires_grad()) (loss * share).backward();
  losses->add_(at::stack({output.detach(), sparse.selector_loss.detach()}));
}

}  // namespace

at::Tensor DenseHidden(const FrozenLlama& llama, const at::Tensor& tokens) {
  at::Tensor hidden = llama.Embed(tokens);
  for (int64_t l = 0; l < llama.config().num_layers; ++l) {
    AddDense(llama, l, llama.MergeHeads(l, DenseAttention(llama.Project(l, hidden))), &hidden);
  }
  return hidden;
}

SparseHiddenResult SparseHidden(const FrozenLlama& llama, const AdapterConfig& config,
                                const std::vector<LayerTensors>& layers, const at::Tensor& tokens,
                                const DistillOptions& options) {
  SparseHiddenResult out;
  out.hidden = llama.Embed(tokens);
  out.selector_loss = at::zeros({}, out.hidden.options().dtype(at::kFloat));
  out.keys_read = at::zeros({}, out.hidden.options().dtype(at::kLong));
  for (int64_t l = 0; l < config.num_layers; ++l) {
    const AttentionInputs in = llama.Project(l, out.hidden);
    if (config.is_dense(l)) {
      AddDense(llama, l, llama.MergeHeads(l, DenseAttention(in)), &out.hidden);
      continue;
    }
    const SparseAttentionResult sparse =
        SparseAttention(llama, config, layers[l], in, AttentionOptions(config, options));
    AddDense(llama, l, llama.MergeHeads(l, sparse.heads), &out.hidden);
    out.selector_loss = out.selector_loss + sparse.selector_loss;
    out.keys_read = out.keys_read + sparse.keys_read;
  }
  return out;
}

DistillLosses DistillLayers(const FrozenLlama& llama, const AdapterConfig& config,
                            const std::vector<LayerTensors>& layers, const at::Tensor& tokens,
                            const DistillOptions& options) {
  const c10::NoGradGuard no_gradients;
  at::Tensor hidden = llama.Embed(tokens);
  at::Tensor losses = at::zeros({2}, hidden.options().dtype(at::kFloat));
  for (int64_t l = 0; l < config.num_layers; ++l) {
    const AttentionInputs in = llama.Project(l, hidden);
    const at::Tensor attended = llama.MergeHeads(l, DenseAttention(in));
    if (!config.is_dense(l)) {
      DistillLayer(llama, config, l, layers[l], in, attended, options, &losses);
    }
    AddDense(llama, l, attended, &hidden);
  }
  const at::Tensor means = (losses / static_cast<double>(SparseLayers(config))).to(at::kCPU);
  DistillLosses out;
  out.output = means[0].item<double>();
  out.selector = means[1].item<double>();
  out.total = out.output + options.selector_weight * out.selector;
  return out;
}

DistillLosses DistillEndToEnd(const FrozenLlama& llama, const AdapterConfig& config,
                              const std::vector<LayerTensors>& layers, const at::Tensor& tokens,
                              const DistillOptions& options) {
  at::Tensor teacher;
  {
    const c10::NoGradGuard no_gradients;
    teacher = DenseHidden(llama, tokens);
  }
  const c10::AutoGradMode gradients(true);
  const SparseHiddenResult student = SparseHidden(llama, config, layers, tokens, options);
  const at::Tensor kl = LogitKl(llama, teacher, student.hidden, options.logit_rows);
  const at::Tensor selector = student.selector_loss / static_cast<double>(SparseLayers(config));
  const at::Tensor loss = kl + options.selector_weight * selector;
  if (loss.requires_grad()) (loss * options.weight).backward();
  DistillLosses out;
  out.kl = kl.item<double>();
  out.selector = selector.item<double>();
  out.total = out.kl + options.selector_weight * out.selector;
  return out;
}

}  // namespace sieve
