#include "trainer/distill.h"

#include "trainer/logit_kl.h"
#include "trainer/recomputed.h"
#include "trainer/sparse_attention.h"

namespace sieve {
namespace {

SparseAttentionOptions AttentionOptions(const AdapterConfig& config,
                                        const DistillOptions& options) {
  const bool learned = config.selector == Selector::kIndex || config.selector == Selector::kGate;
  return {.selected_blocks = options.selected_blocks,
          .query_chunk = options.query_chunk,
          .selector_loss = learned && options.selector_weight > 0,
          .probe = options.probe,
          .real = options.real};
}

int64_t SparseLayers(const AdapterConfig& config) {
  return config.num_layers - static_cast<int64_t>(config.dense_layers.size());
}

void AddDense(const FrozenLlama& llama, int64_t layer, const at::Tensor& attended,
              at::Tensor* hidden) {
  *hidden = *hidden + attended;
  *hidden = *hidden + llama.FeedForward(layer, *hidden);
}

// The rows of x [N, T, ...] where `chosen` [N, T] holds; all when it is undefined.
at::Tensor RowsOf(const at::Tensor& x, const at::Tensor& chosen) {
  const at::Tensor rows = x.flatten(0, 1);
  return chosen.defined() ? rows.index_select(0, chosen.flatten().nonzero().flatten()) : rows;
}

// The mean cross-entropy of the answers' tokens, of student states [N, T, hidden], likewise.
at::Tensor AnswerLoss(const FrozenLlama& llama, const at::Tensor& student, const at::Tensor& tokens,
                      const at::Tensor& answers, int64_t rows) {
  const int64_t predicted = tokens.size(1) - 1;
  const at::Tensor chosen = answers.narrow(1, 1, predicted);
  const at::Tensor states = RowsOf(student.narrow(1, 0, predicted), chosen);
  const at::Tensor next = RowsOf(tokens.narrow(1, 1, predicted), chosen);
  at::Tensor sum = at::zeros({}, states.options().dtype(at::kFloat));
  for (int64_t begin = 0; begin < states.size(0); begin += rows) {
    const int64_t count = std::min(rows, states.size(0) - begin);
    const at::Tensor target = next.narrow(0, begin, count).unsqueeze(-1);
    const auto loss = [&llama, target](const Tensors& hidden) -> Tensors {
      return {-at::log_softmax(llama.Logits(hidden[0]), -1).gather(-1, target).sum()};
    };
    sum = sum + Recomputed(loss, {states.narrow(0, begin, count)})[0];
  }
  return sum / static_cast<double>(states.size(0));
}

// One layer of DistillLayers: gradients, and both terms.
void DistillLayer(const FrozenLlama& llama, const AdapterConfig& config, int64_t l,
                  const LayerTensors& layer, const AttentionInputs& in, const at::Tensor& dense,
                  const DistillOptions& options, at::Tensor* losses) {
  const c10::AutoGradMode gradients(true);
  const SparseAttentionResult sparse =
      SparseAttention(llama, config, layer, in, AttentionOptions(config, options));
  const at::Tensor wide = RowsOf(dense, options.real).to(at::kFloat);
  const at::Tensor error =
      RowsOf(llama.MergeHeads(l, sparse.heads), options.real).to(at::kFloat) - wide;
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
  if (options.probe) {
    out.branches.resize(config.num_layers);
    out.chosen.resize(config.num_layers);
  }
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
    if (options.probe) {
      out.branches[l] = sparse.branches;
      out.chosen[l] = sparse.chosen;
    }
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
  const at::Tensor kl = LogitKl(llama, RowsOf(teacher, options.real),
                                RowsOf(student.hidden, options.real), options.logit_rows);
  const at::Tensor selector = student.selector_loss / static_cast<double>(SparseLayers(config));
  at::Tensor loss = kl + options.selector_weight * selector, task;
  if (options.task_weight > 0 && options.answers.defined()) {
    task = AnswerLoss(llama, student.hidden, tokens, options.answers, options.logit_rows);
    loss = loss + options.task_weight * task;
  }
  if (loss.requires_grad()) (loss * options.weight).backward();
  DistillLosses out;
  out.kl = kl.item<double>();
  out.selector = selector.item<double>();
  if (task.defined()) out.task = task.item<double>();
  out.total = out.kl + options.selector_weight * out.selector + options.task_weight * out.task;
  return out;
}

}  // namespace sieve
