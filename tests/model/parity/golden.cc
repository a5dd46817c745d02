#include "tests/model/parity/golden.h"

#include <algorithm>
#include <cmath>
#include <fstream>

namespace sieve {

using nlohmann::json;

json ReadGolden(const std::string& name) {
  std::ifstream file("tests/model/parity/goldens/" + name);
  return json::parse(file);
}

double RelativeError(const float* logits, int64_t vocabulary_size, const json& golden) {
  const std::vector<int64_t> ids = golden["ids"];
  const std::vector<double> values = golden["values"];
  double difference = 0, greatest = 0;
  const auto compare = [&](double actual, double expected) {
    // A difference that is not a number must not pass for none.
    const double d = std::abs(actual - expected);
    difference = std::isnan(d) ? INFINITY : std::max(difference, d);
    greatest = std::max(greatest, std::abs(expected));
  };
  for (size_t i = 0; i < ids.size(); ++i) compare(logits[ids[i]], values[i]);
  double squares = 0, max_abs = 0;
  for (int64_t i = 0; i < vocabulary_size; ++i) {
    squares += static_cast<double>(logits[i]) * logits[i];
    max_abs = std::max<double>(max_abs, std::abs(logits[i]));
  }
  compare(max_abs, golden["max_abs"]);
  const double norm = golden["norm"];
  const double norm_error = std::abs(std::sqrt(squares) - norm) / norm;
  return std::max(difference / greatest, std::isnan(norm_error) ? INFINITY : norm_error);
}

}  // namespace sieve
