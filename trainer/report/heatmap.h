#ifndef SIEVE_TRAINER_REPORT_HEATMAP_H_
#define SIEVE_TRAINER_REPORT_HEATMAP_H_

#include <string>
#include <vector>

namespace sieve {

// A value that is drawn grey, outside the scale of colours.
constexpr double kAlwaysRead = -1e9;

// Values by row, downwards, and column; what is not finite is left blank.
struct Heatmap {
  std::string title = {}, x_label = {}, y_label = {};
  std::vector<std::vector<double>> rows = {};
  double x_begin = 0, x_end = 1;  // what the left side of the first column and the right side of
                                  // the last one are
  double y_begin = 0, y_end = 1;  // the same of rows, from the top
  double low = 0, high = 1;       // the ends of the scale of colours
};

// A panel of a Figure.
std::string HeatmapPanel(const Heatmap& heatmap);

}  // namespace sieve

#endif  // SIEVE_TRAINER_REPORT_HEATMAP_H_
