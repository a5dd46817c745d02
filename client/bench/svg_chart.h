#ifndef SIEVE_CLIENT_BENCH_SVG_CHART_H_
#define SIEVE_CLIENT_BENCH_SVG_CHART_H_

#include <string>
#include <vector>

namespace sieve {

struct ChartPoint {
  double x = 0;
  double y = 0;
  std::string label;  // beside the point; may be empty
};

struct ChartSeries {
  std::string name;
  std::string color;               // of CSS
  std::vector<ChartPoint> points;  // joined in this order; those with y <= 0 are left out
};

// One pair of axes: x linear from 0, y logarithmic.
struct ChartPanel {
  std::string title, x_label;
  std::vector<ChartSeries> series;
};

struct Chart {
  std::string title, subtitle;
  std::vector<ChartPanel> panels;  // side by side
};

// A picture of its own, on white, whose text stays text.
std::string DrawSvg(const Chart& chart);

// Round numbers from 0 that reach `highest`: 5 to 12 of them. REQUIRES: highest > 0.
std::vector<double> LinearTicks(double highest);
// 1, 2 and 5 times the powers of ten (only the powers where the range spans many), from the last at
// most `lowest` to the first at least `highest`. REQUIRES: 0 < lowest <= highest.
std::vector<double> LogTicks(double lowest, double highest);

}  // namespace sieve

#endif  // SIEVE_CLIENT_BENCH_SVG_CHART_H_
