#ifndef SIEVE_TRAINER_REPORT_PANEL_H_
#define SIEVE_TRAINER_REPORT_PANEL_H_

#include <string>
#include <string_view>
#include <vector>

#include "trainer/report/axis.h"

namespace sieve {

// Pictures are made of panels, a <g> each, with a plot within: its place in the panel, in pixels.
struct Plot {
  static constexpr double kWidth = 440, kHeight = 290;  // of the panel
  static constexpr double kLeft = 76, kRight = 426, kTop = 34, kBottom = 244;
};

std::string TextAt(double x, double y, std::string_view attributes, std::string_view text);
std::string LineAt(double x1, double y1, double x2, double y2, std::string_view attributes);

// Title, names of the axes and ticks: with lines across the plot, or beside it.
struct FrameOptions {
  std::string title = {}, x_label = {}, y_label = {};
  bool grid = true;
};
std::string Frame(const FrameOptions& options, const Axis& x, const Axis& y);

// Ten colours that can be told apart, then again.
const char* SeriesColor(int index);

// An <svg>: panels in rows of `columns`, under a legend of names in SeriesColor's order. It needs
// no other file.
std::string Figure(const std::vector<std::string>& panels, int columns,
                   const std::vector<std::string>& legend);

}  // namespace sieve

#endif  // SIEVE_TRAINER_REPORT_PANEL_H_
