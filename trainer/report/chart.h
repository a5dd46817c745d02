#ifndef SIEVE_TRAINER_REPORT_CHART_H_
#define SIEVE_TRAINER_REPORT_CHART_H_

#include <optional>
#include <string>
#include <vector>

#include "trainer/report/axis.h"

namespace sieve {

// A line, or points, of a chart. x and y are of one length, low and high too or empty. What has no
// place on its axis is left out.
struct Series {
  std::string name = {};
  std::vector<double> x = {}, y = {};
  std::vector<double> low = {}, high = {};  // an interval of each y
  int color = -1;                           // of SeriesColor; below 0: its number in the chart
};

struct Chart {
  std::string title = {};
  AxisOptions x = {}, y = {};
  std::vector<Series> series = {};
  bool lines = true;
  bool points = false;                   // on a named x those of several series stand side by side
  std::optional<double> reference = {};  // a horizontal line
};

// A panel of a Figure.
std::string ChartPanel(const Chart& chart);

}  // namespace sieve

#endif  // SIEVE_TRAINER_REPORT_CHART_H_
