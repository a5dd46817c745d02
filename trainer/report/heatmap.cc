#include "trainer/report/heatmap.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "trainer/report/panel.h"

namespace sieve {
namespace {

constexpr char kGrey[] = "#d9d9d9";

double Share(const Heatmap& heatmap, double value) {
  return (value - heatmap.low) / (heatmap.high - heatmap.low);
}

// From white over blue to nearly black; empty for what is not finite.
std::string HeatColor(double share) {
  if (!std::isfinite(share)) return "";
  constexpr std::array<std::array<double, 3>, 5> kStops = {
      {{247, 251, 255}, {189, 215, 238}, {91, 155, 206}, {24, 93, 160}, {8, 29, 72}}};
  const double at = std::clamp(share, 0.0, 1.0) * (kStops.size() - 1);
  const size_t i = std::min<size_t>(static_cast<size_t>(at), kStops.size() - 2);
  const auto mixed = [&](int c) {
    return static_cast<int>(std::lround(kStops[i][c] + (at - static_cast<double>(i)) *
                                                           (kStops[i + 1][c] - kStops[i][c])));
  };
  return absl::StrFormat("#%02x%02x%02x", mixed(0), mixed(1), mixed(2));
}

std::string ColorOf(const Heatmap& heatmap, double value) {
  return value == kAlwaysRead ? kGrey : HeatColor(Share(heatmap, value));
}

// The scale of colours, at the right of the title.
std::string HeatScale(const Heatmap& heatmap) {
  constexpr int kSteps = 20;
  constexpr double kWidth = 80, kHeight = 9;
  const double begin = Plot::kRight - kWidth - 28;
  std::string out;
  for (int i = 0; i < kSteps; ++i) {
    absl::StrAppendFormat(
        &out, "<rect x=\"%.1f\" y=\"12\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n",
        begin + kWidth * i / kSteps, kWidth / kSteps + 0.3, kHeight, HeatColor((i + 0.5) / kSteps));
  }
  absl::StrAppend(
      &out, TextAt(begin - 4, 20, "text-anchor=\"end\"", absl::StrFormat("%.3g", heatmap.low)),
      TextAt(begin + kWidth + 4, 20, "", absl::StrFormat("%.3g", heatmap.high)));
  return out;
}

}  // namespace

std::string HeatmapPanel(const Heatmap& h) {
  const double wide = Plot::kRight - Plot::kLeft, high = Plot::kBottom - Plot::kTop;
  const Axis x({.room = 0}, {h.x_begin, h.x_end}, Plot::kLeft, Plot::kRight);
  const Axis y({.room = 0}, {h.y_begin, h.y_end}, h.y_begin < h.y_end ? Plot::kTop : Plot::kBottom,
               h.y_begin < h.y_end ? Plot::kBottom : Plot::kTop);
  std::string cells;
  for (size_t r = 0; r < h.rows.size(); ++r) {
    const double height = high / static_cast<double>(h.rows.size());
    // Equal neighbours are one rectangle: pictures of masks would be large without.
    for (size_t begin = 0, end; begin < h.rows[r].size(); begin = end) {
      const double width = wide / static_cast<double>(h.rows[r].size());
      const std::string color = ColorOf(h, h.rows[r][begin]);
      end = begin + 1;
      while (end < h.rows[r].size() && ColorOf(h, h.rows[r][end]) == color) ++end;
      if (color.empty()) continue;
      absl::StrAppendFormat(&cells,
                            "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" "
                            "fill=\"%s\"/>\n",
                            Plot::kLeft + width * static_cast<double>(begin),
                            Plot::kTop + height * static_cast<double>(r),
                            width * static_cast<double>(end - begin) + 0.2, height + 0.2, color);
    }
  }
  const FrameOptions frame = {
      .title = h.title, .x_label = h.x_label, .y_label = h.y_label, .grid = false};
  return absl::StrCat("<g>\n", cells, Frame(frame, x, y), HeatScale(h), "</g>\n");
}

}  // namespace sieve
