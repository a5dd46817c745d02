#include "trainer/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sieve {

double ScheduleAt(int64_t step, int64_t steps) {
  constexpr double kLast = 0.1;
  const double warm_up = std::max(1.0, 0.05 * static_cast<double>(steps));
  const double at = static_cast<double>(step) + 1;
  if (at <= warm_up) return at / warm_up;
  const double done = (at - warm_up) / std::max(1.0, static_cast<double>(steps) - warm_up);
  return kLast + (1 - kLast) * (1 + std::cos(std::numbers::pi * std::min(1.0, done))) / 2;
}

double AdamWStep(const OptimizerOptions& options, int64_t step, double schedule,
                 std::vector<Parameter>* parameters) {
  const c10::NoGradGuard no_gradients;
  at::Tensor sum;
  for (const Parameter& p : *parameters) {
    if (!p.value.grad().defined()) continue;
    const at::Tensor square = p.value.grad().square().sum();
    sum = sum.defined() ? sum + square : square;
  }
  const double norm = sum.defined() ? std::sqrt(sum.item<double>()) : 0;
  const double scale = norm > options.clip ? options.clip / norm : 1;
  const double correction1 = 1 - std::pow(options.beta1, static_cast<double>(step + 1));
  const double correction2 = 1 - std::pow(options.beta2, static_cast<double>(step + 1));
  for (Parameter& p : *parameters) {
    const at::Tensor gradient = p.value.grad();
    p.value.mutable_grad().reset();
    if (!gradient.defined() || !std::isfinite(norm)) continue;
    const double rate = p.rate * schedule;
    p.first.mul_(options.beta1).add_(gradient, (1 - options.beta1) * scale);
    p.second.mul_(options.beta2).add_(gradient.square(), (1 - options.beta2) * scale * scale);
    p.value.mul_(1 - rate * options.weight_decay);
    const at::Tensor deviation = (p.second / correction2).sqrt_().add_(options.epsilon);
    p.value.sub_(p.first.div(deviation), rate / correction1);
  }
  return norm;
}

}  // namespace sieve
