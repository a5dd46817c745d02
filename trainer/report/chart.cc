#include "trainer/report/chart.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "trainer/report/markup.h"
#include "trainer/report/panel.h"

namespace sieve {
namespace {

constexpr double kSideBySide = 4;  // pixels between the marks of two series

Axis XAxis(const Chart& chart) {
  std::vector<double> values;
  for (const Series& s : chart.series) values.insert(values.end(), s.x.begin(), s.x.end());
  return Axis(chart.x, values, Plot::kLeft, Plot::kRight);
}

Axis YAxis(const Chart& chart) {
  std::vector<double> values;
  for (const Series& s : chart.series) {
    for (const auto* part : {&s.y, &s.low, &s.high}) {
      values.insert(values.end(), part->begin(), part->end());
    }
  }
  if (chart.reference) values.push_back(*chart.reference);
  return Axis(chart.y, values, Plot::kBottom, Plot::kTop);
}

// One series of a chart whose marks are moved aside by `shift`.
class SeriesWriter {
 public:
  SeriesWriter(const Chart& chart, const Series& series, const Axis& x, const Axis& y,
               const char* color, double shift)
      : chart_(chart), s_(series), x_(x), y_(y), color_(color), shift_(shift) {}

  std::string Write() const {
    return absl::StrCat(chart_.lines ? Line() : "", Intervals(), chart_.points ? Points() : "");
  }

 private:
  bool Has(size_t i) const { return x_.Has(s_.x[i]) && y_.Has(s_.y[i]); }
  double At(size_t i) const { return x_.At(s_.x[i]) + shift_; }

  std::string Line() const {
    std::string path;
    bool broken = true;
    for (size_t i = 0; i < s_.x.size(); ++i) {
      if (Has(i)) {
        absl::StrAppendFormat(&path, "%s%.1f,%.1f", broken ? "M" : "L", At(i), y_.At(s_.y[i]));
      }
      broken = !Has(i);
    }
    return absl::StrFormat(
        "<path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" "
        "stroke-linejoin=\"round\" stroke-opacity=\"%s\"><title>%s</title></path>\n",
        path, color_, chart_.points ? "0.55" : "1", EscapeMarkup(s_.name));
  }

  std::string Intervals() const {
    std::string out;
    for (size_t i = 0; i < s_.low.size(); ++i) {
      if (!Has(i) || !y_.Has(s_.low[i]) || !y_.Has(s_.high[i])) continue;
      const double x = At(i), low = y_.At(s_.low[i]), high = y_.At(s_.high[i]);
      const std::string style = absl::StrFormat("stroke=\"%s\" stroke-width=\"1.3\"", color_);
      absl::StrAppend(&out, LineAt(x, low, x, high, style.c_str()),
                      LineAt(x - 2, low, x + 2, low, style.c_str()),
                      LineAt(x - 2, high, x + 2, high, style.c_str()));
    }
    return out;
  }

  std::string Points() const {
    std::string out;
    for (size_t i = 0; i < s_.x.size(); ++i) {
      if (!Has(i)) continue;
      absl::StrAppendFormat(
          &out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"><title>%s</title></circle>\n",
          At(i), y_.At(s_.y[i]), color_,
          EscapeMarkup(absl::StrFormat("%s: %.5g", s_.name, s_.y[i])));
    }
    return out;
  }

  const Chart& chart_;
  const Series& s_;
  const Axis &x_, &y_;
  const char* const color_;
  const double shift_;
};

}  // namespace

std::string ChartPanel(const Chart& chart) {
  const Axis x = XAxis(chart), y = YAxis(chart);
  std::string out =
      "<g>\n" +
      Frame({.title = chart.title, .x_label = chart.x.label, .y_label = chart.y.label}, x, y);
  if (chart.reference && y.Has(*chart.reference)) {
    const double at = y.At(*chart.reference);
    absl::StrAppend(&out, LineAt(Plot::kLeft, at, Plot::kRight, at,
                                 "stroke=\"#333\" stroke-dasharray=\"5 4\""));
  }
  const double middle = 0.5 * (static_cast<double>(chart.series.size()) - 1);
  for (size_t i = 0; i < chart.series.size(); ++i) {
    const Series& series = chart.series[i];
    const char* color = SeriesColor(series.color < 0 ? static_cast<int>(i) : series.color);
    const bool aside = chart.points && !chart.x.names.empty();
    const double shift = aside ? kSideBySide * (static_cast<double>(i) - middle) : 0;
    absl::StrAppend(&out, SeriesWriter(chart, series, x, y, color, shift).Write());
  }
  return out + "</g>\n";
}

}  // namespace sieve
