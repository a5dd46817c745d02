#include "trainer/logit_kl.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

namespace sieve {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor LogProbabilities(const at::Tensor& normed, const at::Tensor& head) {
  return at::log_softmax(at::linear(normed, head).to(at::kFloat), -1);
}

// The sum over rows. Normalised hidden states are [tokens, hidden], the head [vocabulary, hidden].
struct SumOfKl : torch::autograd::Function<SumOfKl> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& student,
                            const at::Tensor& teacher, const at::Tensor& head, int64_t rows) {
    at::Tensor sum = at::zeros({}, student.options().dtype(at::kFloat));
    const bool wanted = student.requires_grad();
    at::Tensor gradient = wanted ? at::empty_like(student) : at::Tensor();
    for (int64_t begin = 0; begin < student.size(0); begin += rows) {
      const int64_t count = std::min(rows, student.size(0) - begin);
      const at::Tensor a = LogProbabilities(teacher.narrow(0, begin, count), head);
      at::Tensor b = LogProbabilities(student.narrow(0, begin, count), head);
      const at::Tensor p = a.exp();
      sum.add_(a.sub_(b).mul_(p).sum());
      if (!wanted) continue;
      const at::Tensor of_logits = b.exp_().sub_(p).to(head.scalar_type());
      gradient.narrow(0, begin, count).copy_(at::matmul(of_logits, head));
    }
    if (wanted) context->save_for_backward({gradient});
    return sum;
  }

  static variable_list backward(AutogradContext* context, variable_list outer) {
    const at::Tensor gradient = context->get_saved_variables()[0];
    return {gradient * outer[0].to(gradient.scalar_type()), {}, {}, {}};
  }
};

}  // namespace

at::Tensor LogitKl(const FrozenLlama& llama, const at::Tensor& teacher, const at::Tensor& student,
                   int64_t rows) {
  const at::Tensor b = llama.FinalNorm(student).flatten(0, -2);
  const at::Tensor a = llama.FinalNorm(teacher).detach().flatten(0, -2);
  return SumOfKl::apply(b, a, llama.head(), rows) / static_cast<double>(b.size(0));
}

}  // namespace sieve
