#include "trainer/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace sieve {
namespace {

std::vector<Parameter> OneParameter(double value) {
  const at::Tensor tensor = at::full({1}, value, at::TensorOptions(at::kFloat));
  std::vector<Parameter> parameters = {{.name = "p",
                                        .value = tensor.clone().requires_grad_(),
                                        .first = at::zeros_like(tensor),
                                        .second = at::zeros_like(tensor),
                                        .rate = 0.1}};
  return parameters;
}

TEST(Optimizer, AdamWInDoubles) {
  const OptimizerOptions options = {.weight_decay = 0.01, .clip = 2};
  std::vector<Parameter> parameters = OneParameter(3);
  double value = 3, first = 0, second = 0;
  for (int step = 0; step < 20; ++step) {
    const double gradient = 2 * value - 1;  // of x² - x
    const at::Tensor& x = parameters[0].value;
    (x * x - x).sum().backward();
    EXPECT_NEAR(AdamWStep(options, step, 0.5, &parameters), std::abs(gradient), 1e-4);
    const double clipped = gradient * std::min(1.0, 2 / std::abs(gradient));
    first = 0.9 * first + 0.1 * clipped;
    second = 0.98 * second + 0.02 * clipped * clipped;
    value -= 0.05 * 0.01 * value;
    value -= 0.05 * first / (1 - std::pow(0.9, step + 1)) /
             (std::sqrt(second / (1 - std::pow(0.98, step + 1))) + 1e-8);
    EXPECT_NEAR(x.item<double>(), value, 1e-4);
    EXPECT_FALSE(x.grad().defined());
  }
}

TEST(Optimizer, ANotFiniteGradientChangesNothing) {
  std::vector<Parameter> parameters = OneParameter(3);
  (parameters[0].value * std::numeric_limits<double>::infinity()).sum().backward();
  EXPECT_FALSE(std::isfinite(AdamWStep({}, 0, 1, &parameters)));
  EXPECT_EQ(parameters[0].value.item<double>(), 3);
}

TEST(Optimizer, TheScheduleRisesAndFalls) {
  EXPECT_DOUBLE_EQ(ScheduleAt(0, 100), 0.2);
  EXPECT_DOUBLE_EQ(ScheduleAt(4, 100), 1);
  EXPECT_DOUBLE_EQ(ScheduleAt(99, 100), 0.1);
  for (int step = 5; step < 99; ++step) {
    EXPECT_GT(ScheduleAt(step, 100), ScheduleAt(step + 1, 100));
  }
  EXPECT_DOUBLE_EQ(ScheduleAt(0, 1), 1);
}

}  // namespace
}  // namespace sieve
