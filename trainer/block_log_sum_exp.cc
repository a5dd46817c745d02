#include "trainer/block_log_sum_exp.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include "trainer/fused_block_log_sum_exp.h"

namespace sieve {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kBlock = 64;

struct Fused : torch::autograd::Function<Fused> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            int64_t begin) {
    const at::Tensor out = FusedBlockLogSumExp(q, k, begin);
    context->save_for_backward({q, k, out});
    context->saved_data["begin"] = begin;
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list outer) {
    const variable_list saved = context->get_saved_variables();
    const auto [q, k] = FusedBlockLogSumExpGradient(
        saved[0], saved[1], saved[2], outer[0].contiguous(), context->saved_data["begin"].toInt());
    return {q, k, {}};
  }
};

// Of numbers that are not needed any more: at half of at::logsumexp's reads and writes.
at::Tensor LogSumExpInPlace(const at::Tensor& x) {
  const at::Tensor top = x.amax(-1, /*keepdim=*/true);
  return x.sub_(top).exp_().sum(-1).log_().add_(top.squeeze(-1));
}

}  // namespace

at::Tensor BlockLogSumExp(const at::Tensor& q, const at::Tensor& k, int64_t begin) {
  const bool differentiated =
      c10::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad());
  if (q.is_cuda() && HasFusedBlockLogSumExp(q.size(-1), differentiated)) {
    return Fused::apply(q.contiguous(), k.contiguous(), begin);
  }
  const at::Tensor products = at::matmul(q.flatten(2, 3), k.transpose(-1, -2))
                                  .unflatten(2, {q.size(2), q.size(3)})
                                  .unflatten(-1, {-1, kBlock});
  return differentiated ? at::logsumexp(products, {-1}) : LogSumExpInPlace(products);
}

}  // namespace sieve
