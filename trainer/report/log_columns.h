#ifndef SIEVE_TRAINER_REPORT_LOG_COLUMNS_H_
#define SIEVE_TRAINER_REPORT_LOG_COLUMNS_H_

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "trainer/report/chart.h"

namespace sieve {

// The number at `key`, NaN where there is none.
double NumberAt(const nlohmann::json& object, const char* key);

// The running mean of a column of ReadRunLog's lines (each mean is `decay` of the one before), by
// number of the line from 1, or by step where `by_step`. Lines that `take` refuses, or that have no
// finite number there, are left out. `decay` 0: the numbers themselves.
struct ColumnOptions {
  std::string key;
  double decay = 0;
  bool by_step = false;
  std::function<bool(const nlohmann::json& line)> take = {};
};
Series LogColumn(const nlohmann::json& log, const ColumnOptions& options);

// One branch ("base", "selected", "compressed") where it was measured: by layer its shares, NaN in
// dense layers, and the numbers of the lines.
struct BranchColumns {
  std::vector<double> x;
  std::vector<std::vector<double>> layers;
};
BranchColumns BranchOverTime(const nlohmann::json& log, const std::string& branch);

// The mean over the layers that are not dense.
Series MeanOverLayers(const BranchColumns& columns);

}  // namespace sieve

#endif  // SIEVE_TRAINER_REPORT_LOG_COLUMNS_H_
