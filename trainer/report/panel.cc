#include "trainer/report/panel.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "trainer/report/markup.h"

namespace sieve {
namespace {

constexpr double kLegendLine = 20;
constexpr double kLetter = 6.6;  // an average letter's width
constexpr char kStyle[] =
    "<style>svg text{font:11px system-ui,'Helvetica Neue',Arial,sans-serif;fill:#333}"
    "svg .title{font-size:13px;font-weight:600}</style>\n";

// Lines of names with their colours; adds to `height` what they take.
std::string Legend(const std::vector<std::string>& names, double width, double* height) {
  if (names.empty()) return "";
  std::string out;
  double x = Plot::kLeft, y = 16;
  for (size_t i = 0; i < names.size(); ++i) {
    const double wide = 30 + kLetter * static_cast<double>(names[i].size());
    if (x > Plot::kLeft && x + wide > width) {
      x = Plot::kLeft;
      y += kLegendLine;
    }
    absl::StrAppendFormat(
        &out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"11\" height=\"11\" rx=\"2\" fill=\"%s\"/>\n", x,
        y - 10, SeriesColor(static_cast<int>(i)));
    absl::StrAppend(&out, TextAt(x + 16, y, "", names[i]));
    x += wide;
  }
  *height += y + 10;
  return out;
}

}  // namespace

std::string TextAt(double x, double y, std::string_view attributes, std::string_view text) {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" %s>%s</text>\n", x, y, attributes,
                         EscapeMarkup(text));
}

std::string LineAt(double x1, double y1, double x2, double y2, std::string_view attributes) {
  return absl::StrFormat("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" %s/>\n", x1, y1, x2,
                         y2, attributes);
}

std::string Frame(const FrameOptions& options, const Axis& x, const Axis& y) {
  using P = Plot;
  constexpr char kAcross[] = "stroke=\"#e4e4e4\"", kBeside[] = "stroke=\"#888\"";
  const char* style = options.grid ? kAcross : kBeside;
  std::string out = TextAt(P::kLeft, 20, "class=\"title\"", options.title);
  for (const Tick& tick : y.ticks()) {
    const double at = y.At(tick.value);
    absl::StrAppend(&out, LineAt(P::kLeft - 4, at, options.grid ? P::kRight : P::kLeft, at, style),
                    TextAt(P::kLeft - 7, at + 3.5, "text-anchor=\"end\"", tick.text));
  }
  for (const Tick& tick : x.ticks()) {
    const double at = x.At(tick.value);
    absl::StrAppend(&out,
                    LineAt(at, options.grid ? P::kTop : P::kBottom, at, P::kBottom + 4, style),
                    TextAt(at, P::kBottom + 16, "text-anchor=\"middle\"", tick.text));
  }
  absl::StrAppend(&out, LineAt(P::kLeft, P::kBottom, P::kRight, P::kBottom, kBeside),
                  LineAt(P::kLeft, P::kTop, P::kLeft, P::kBottom, kBeside),
                  TextAt((P::kLeft + P::kRight) / 2, P::kBottom + 36, "text-anchor=\"middle\"",
                         options.x_label));
  absl::StrAppendFormat(&out, "<g transform=\"translate(13,%.1f) rotate(-90)\">%s</g>\n",
                        (P::kTop + P::kBottom) / 2,
                        TextAt(0, 0, "text-anchor=\"middle\"", options.y_label));
  return out;
}

const char* SeriesColor(int index) {
  constexpr std::array<const char*, 10> kColors = {"#0072b2", "#d55e00", "#009e73", "#aa4499",
                                                   "#b8860b", "#56b4e9", "#882255", "#4d4d4d",
                                                   "#6a7f00", "#e07b91"};
  return kColors[index % kColors.size()];
}

std::string Figure(const std::vector<std::string>& panels, int columns,
                   const std::vector<std::string>& legend) {
  const int count = static_cast<int>(panels.size());
  const int shown = std::clamp(count, 1, columns);
  const double width = shown * Plot::kWidth;
  double top = 0;
  const std::string names = Legend(legend, width, &top);
  const double height = top + (count + shown - 1) / shown * Plot::kHeight;
  std::string out = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" "
      "height=\"%.0f\">\n%s<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n%s",
      width, height, width, height, kStyle, names);
  for (int i = 0; i < count; ++i) {
    absl::StrAppendFormat(&out, "<g transform=\"translate(%.0f,%.0f)\">\n%s</g>\n",
                          i % shown * Plot::kWidth, top + i / shown * Plot::kHeight, panels[i]);
  }
  return out + "</svg>\n";
}

}  // namespace sieve
