#include "trainer/report/log_columns.h"

#include <cmath>
#include <limits>

namespace sieve {
namespace {

using nlohmann::json;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

}  // namespace

double NumberAt(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : kNone;
}

Series LogColumn(const json& log, const ColumnOptions& options) {
  Series series;
  double number = 0;
  for (const json& line : log) {
    ++number;
    const double value = NumberAt(line, options.key.c_str());
    if (!std::isfinite(value) || (options.take && !options.take(line))) continue;
    const double mean =
        series.y.empty() ? value : options.decay * series.y.back() + (1 - options.decay) * value;
    series.x.push_back(options.by_step ? NumberAt(line, "step") : number);
    series.y.push_back(mean);
  }
  return series;
}

BranchColumns BranchOverTime(const json& log, const std::string& branch) {
  BranchColumns out;
  double number = 0;
  for (const json& line : log) {
    ++number;
    if (!line.contains("branches") || !line["branches"].contains(branch)) continue;
    const json& shares = line["branches"][branch];
    if (out.layers.empty()) out.layers.resize(shares.size());
    if (shares.size() != out.layers.size()) continue;  // of another run
    out.x.push_back(number);
    for (size_t l = 0; l < shares.size(); ++l) {
      out.layers[l].push_back(shares[l].is_number() ? shares[l].get<double>() : kNone);
    }
  }
  return out;
}

Series MeanOverLayers(const BranchColumns& columns) {
  Series series;
  for (size_t i = 0; i < columns.x.size(); ++i) {
    double sum = 0, count = 0;
    for (const std::vector<double>& layer : columns.layers) {
      if (!std::isfinite(layer[i])) continue;
      sum += layer[i];
      ++count;
    }
    if (count == 0) continue;
    series.x.push_back(columns.x[i]);
    series.y.push_back(sum / count);
  }
  return series;
}

}  // namespace sieve
