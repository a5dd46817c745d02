#include "trainer/recomputed.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

namespace sieve {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Function = std::function<Tensors(const Tensors&)>;

struct Holder : torch::CustomClassHolder {
  Function function;
};

struct Recomputation : torch::autograd::Function<Recomputation> {
  static variable_list forward(AutogradContext* context, c10::intrusive_ptr<Holder> holder,
                               at::TensorList inputs) {
    context->saved_data["function"] = c10::IValue::make_capsule(holder);
    context->save_for_backward(inputs.vec());
    return holder->function(inputs.vec());
  }

  static variable_list backward(AutogradContext* context, variable_list output_gradients) {
    const auto capsule = context->saved_data["function"].toCapsule();
    const auto* holder = static_cast<const Holder*>(capsule.get());
    const variable_list saved = context->get_saved_variables();
    variable_list gradients(1 + saved.size());  // that of the function stays undefined
    variable_list inputs, wanted, outputs, outer;
    std::vector<size_t> places;
    c10::AutoGradMode enable_gradients(true);
    for (const at::Tensor& tensor : saved) {
      inputs.push_back(tensor.detach());
      if (!tensor.requires_grad()) continue;
      inputs.back().requires_grad_();
      places.push_back(inputs.size());
      wanted.push_back(inputs.back());
    }
    const variable_list all = holder->function(inputs);
    for (size_t i = 0; i < all.size(); ++i) {
      if (!all[i].requires_grad() || !output_gradients[i].defined()) continue;
      outputs.push_back(all[i]);
      outer.push_back(output_gradients[i]);
    }
    if (outputs.empty()) return gradients;
    const variable_list found = torch::autograd::grad(outputs, wanted, outer, std::nullopt,
                                                      /*create_graph=*/false,
                                                      /*allow_unused=*/true);
    for (size_t i = 0; i < places.size(); ++i) gradients[places[i]] = found[i];
    return gradients;
  }
};

}  // namespace

Tensors Recomputed(Function function, const Tensors& inputs) {
  // Autograd takes no undefined inputs.
  Tensors defined;
  std::vector<size_t> places;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].defined()) continue;
    defined.push_back(inputs[i]);
    places.push_back(i);
  }
  auto holder = c10::make_intrusive<Holder>();
  holder->function = [function = std::move(function), places,
                      count = inputs.size()](const Tensors& given) {
    Tensors all(count);
    for (size_t i = 0; i < places.size(); ++i) all[places[i]] = given[i];
    return function(all);
  };
  return Recomputation::apply(std::move(holder), at::TensorList(defined));
}

}  // namespace sieve
