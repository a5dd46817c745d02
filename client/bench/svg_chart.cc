#include "client/bench/svg_chart.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace sieve {
namespace {

// Of one panel's plotting area and what surrounds it, in pixels.
constexpr double kPlotWidth = 400, kPlotHeight = 300;
constexpr double kLeft = 62, kRight = 34, kTop = 96, kBottom = 52;
constexpr double kPanelWidth = kLeft + kPlotWidth + kRight;
constexpr double kHeight = kTop + kPlotHeight + kBottom;
constexpr char kGrid[] = "#e3e3e3";

std::string Escaped(const std::string& text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}});
}

std::string TextAt(double x, double y, const std::string& style, const std::string& text) {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" %s>%s</text>\n", x, y, style, Escaped(text));
}

std::string Line(double x1, double y1, double x2, double y2, const std::string& color) {
  return absl::StrFormat("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n",
                         x1, y1, x2, y2, color);
}

// Maps values to pixels within a panel.
class Axes {
 public:
  // `left`: of the plotting area.
  Axes(const ChartPanel& panel, double left) : left_(left) {
    double x_high = 0, y_low = std::numeric_limits<double>::infinity(), y_high = 0;
    for (const ChartSeries& series : panel.series) {
      for (const ChartPoint& point : series.points) {
        if (point.y <= 0) continue;
        x_high = std::max(x_high, point.x);
        y_low = std::min(y_low, point.y);
        y_high = std::max(y_high, point.y);
      }
    }
    if (y_high == 0) y_low = y_high = 1;
    x_ticks_ = LinearTicks(x_high > 0 ? x_high : 1);
    y_ticks_ = LogTicks(y_low, y_high);
  }

  double X(double value) const { return left_ + value / x_ticks_.back() * kPlotWidth; }
  double Y(double value) const {
    const double low = std::log(y_ticks_.front()), high = std::log(y_ticks_.back());
    return kTop + kPlotHeight * (high - std::log(value)) / (high - low);
  }

  std::string Draw() const {
    std::string svg;
    for (const double tick : x_ticks_) {
      absl::StrAppend(&svg, Line(X(tick), kTop, X(tick), kTop + kPlotHeight, kGrid),
                      TextAt(X(tick), kTop + kPlotHeight + 18, "text-anchor=\"middle\"",
                             absl::StrFormat("%g", tick)));
    }
    for (const double tick : y_ticks_) {
      absl::StrAppend(
          &svg, Line(left_, Y(tick), left_ + kPlotWidth, Y(tick), kGrid),
          TextAt(left_ - 8, Y(tick) + 4, "text-anchor=\"end\"", absl::StrFormat("%g", tick)));
    }
    const double bottom = kTop + kPlotHeight;
    absl::StrAppend(&svg, Line(left_, bottom, left_ + kPlotWidth, bottom, "#444"),
                    Line(left_, kTop, left_, bottom, "#444"));
    return svg;
  }

 private:
  const double left_;
  std::vector<double> x_ticks_, y_ticks_;
};

std::string DrawSeries(const ChartSeries& series, const Axes& axes) {
  std::string path, marks;
  for (const ChartPoint& point : series.points) {
    if (point.y <= 0) continue;
    const double x = axes.X(point.x), y = axes.Y(point.y);
    absl::StrAppendFormat(&path, "%s%.1f,%.1f", path.empty() ? "" : " ", x, y);
    absl::StrAppendFormat(&marks, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\"/>\n", x, y,
                          series.color);
    if (!point.label.empty()) {
      absl::StrAppend(&marks, TextAt(x + 6, y - 6, "fill=\"#555\" font-size=\"10\"", point.label));
    }
  }
  return absl::StrFormat(
      "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n%s", path,
      series.color, marks);
}

// Above the plotting area, at its right.
std::string DrawLegend(const ChartPanel& panel, double right) {
  std::string svg;
  double x = right - 62.0 * static_cast<double>(panel.series.size());
  for (const ChartSeries& series : panel.series) {
    absl::StrAppend(&svg,
                    absl::StrFormat("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" "
                                    "stroke=\"%s\" stroke-width=\"2\"/>\n",
                                    x, kTop - 16, x + 20, kTop - 16, series.color),
                    TextAt(x + 25, kTop - 12, "", series.name));
    x += 62;
  }
  return svg;
}

std::string DrawPanel(const ChartPanel& panel, double left) {
  const Axes axes(panel, left);
  std::string svg = axes.Draw();
  for (const ChartSeries& series : panel.series) absl::StrAppend(&svg, DrawSeries(series, axes));
  absl::StrAppend(
      &svg, TextAt(left, kTop - 12, "font-weight=\"bold\"", panel.title),
      DrawLegend(panel, left + kPlotWidth),
      TextAt(left + kPlotWidth / 2, kHeight - 14, "text-anchor=\"middle\"", panel.x_label));
  return svg;
}

// The largest of 1, 2, 5 times a power of ten that is at most `value`.
double RoundDown(double value) {
  const double power = std::pow(10, std::floor(std::log10(value) + 1e-9));
  for (const double factor : {5.0, 2.0}) {
    if (factor * power <= value * (1 + 1e-9)) return factor * power;
  }
  return power;
}

}  // namespace

std::vector<double> LinearTicks(double highest) {
  const double step = RoundDown(highest / 4);
  std::vector<double> ticks = {0};
  while (ticks.back() < highest * (1 - 1e-9)) {
    ticks.push_back(static_cast<double>(ticks.size()) * step);
  }
  return ticks;
}

std::vector<double> LogTicks(double lowest, double highest) {
  const bool powers_only = highest / lowest > 1e4;
  std::vector<double> ticks;
  for (int exponent = static_cast<int>(std::floor(std::log10(lowest) + 1e-9));; ++exponent) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (powers_only && factor != 1) continue;
      const double tick = factor * std::pow(10, exponent);
      if (tick <= lowest * (1 + 1e-9)) ticks.clear();  // an earlier one is below it too
      ticks.push_back(tick);
      if (tick >= highest * (1 - 1e-9) && ticks.size() > 1) return ticks;
    }
  }
}

std::string DrawSvg(const Chart& chart) {
  const double width = kPanelWidth * static_cast<double>(std::max<size_t>(chart.panels.size(), 1));
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
      "viewBox=\"0 0 %.0f %.0f\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\" "
      "fill=\"#222\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
      width, kHeight, width, kHeight);
  absl::StrAppend(&svg, TextAt(kLeft, 28, "font-size=\"16\" font-weight=\"bold\"", chart.title),
                  TextAt(kLeft, 48, "fill=\"#555\"", chart.subtitle));
  for (size_t i = 0; i < chart.panels.size(); ++i) {
    absl::StrAppend(&svg, DrawPanel(chart.panels[i], kPanelWidth * static_cast<double>(i) + kLeft));
  }
  absl::StrAppend(&svg, "</svg>\n");
  return svg;
}

}  // namespace sieve
