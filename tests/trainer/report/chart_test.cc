#include "trainer/report/chart.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "absl/strings/match.h"
#include "trainer/report/heatmap.h"
#include "trainer/report/panel.h"

namespace sieve {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

int Count(const std::string& text, const std::string& part) {
  int count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(Axis, HoldsAllValuesAndHasRoundTicks) {
  const Axis axis({}, {3, 17, kNan, kInfinity}, 0, 100);
  EXPECT_GE(axis.At(3), 0);
  EXPECT_LT(axis.At(3), axis.At(17));
  EXPECT_LE(axis.At(17), 100);
  ASSERT_EQ(axis.ticks().size(), 3);
  EXPECT_EQ(axis.ticks()[0].text, "5");
  EXPECT_FALSE(axis.Has(kNan));
}

TEST(Axis, ALogarithmicOneHasDecadesAndNothingBelowZero) {
  const Axis axis({.log = true}, {0.01, 10, 0, -5}, 0, 300);
  EXPECT_FALSE(axis.Has(0));
  EXPECT_FALSE(axis.Has(-5));
  EXPECT_NEAR(axis.At(1) - axis.At(0.1), axis.At(0.1) - axis.At(0.01), 1e-9);
  ASSERT_GE(axis.ticks().size(), 4);
  for (const Tick& tick : axis.ticks()) {
    EXPECT_GE(axis.At(tick.value), 0);
    EXPECT_LE(axis.At(tick.value), 300);
  }
}

TEST(Axis, OneValueOrNoneIsARangeToo) {
  for (const double value : {0.0, 5.0, -1e-3, 1e12}) {
    const Axis axis({}, {value}, 0, 100);
    EXPECT_NEAR(axis.At(value), 50, 1) << value;
    EXPECT_FALSE(axis.ticks().empty()) << value;
  }
  EXPECT_FALSE(Axis({}, {}, 0, 100).ticks().empty());
  EXPECT_TRUE(Axis({.log = true}, {-1}, 0, 100).Has(1));
}

TEST(Chart, DrawsLinesMarksAndIntervals) {
  Chart chart;
  chart.title = "a < b";
  chart.x.names = {"2", "4"};
  chart.points = true;
  chart.reference = 1;
  chart.series.push_back(
      {.name = "s", .x = {0, 1}, .y = {1, 2}, .low = {0.5, 1.5}, .high = {2, 3}});
  const std::string panel = ChartPanel(chart);
  EXPECT_EQ(Count(panel, "<path"), 1);
  EXPECT_EQ(Count(panel, "<circle"), 2);
  EXPECT_EQ(Count(panel, "stroke-dasharray"), 1);
  EXPECT_EQ(Count(panel, "stroke-width=\"1.3\""), 6);  // two intervals of three lines
  EXPECT_TRUE(absl::StrContains(panel, "a &lt; b"));
  EXPECT_EQ(Count(panel, "<g"), Count(panel, "</g>"));
}

TEST(Chart, WhatHasNoPlaceBreaksTheLine) {
  Chart chart;
  chart.y.log = true;
  chart.series.push_back({.x = {0, 1, 2, 3}, .y = {1, 0, 2, kNan}});
  const std::string panel = ChartPanel(chart);
  const std::string path = panel.substr(panel.find("<path"), 60);
  EXPECT_EQ(Count(path, "M"), 2);
  EXPECT_EQ(Count(path, "L"), 0);
  EXPECT_FALSE(absl::StrContains(panel, "nan"));
  EXPECT_FALSE(absl::StrContains(panel, "inf"));
}

TEST(Heatmap, EqualNeighboursAreOneRectangleAndNothingIsBlank) {
  Heatmap map;
  map.rows = {{0.2, 0.2, 0.9}, {kNan, kAlwaysRead, kNan}};
  const std::string panel = HeatmapPanel(map);
  EXPECT_EQ(Count(panel, "<rect") - 20, 3);  // 20 are the scale's
  EXPECT_EQ(Count(panel, "#d9d9d9"), 1);
  EXPECT_FALSE(absl::StrContains(HeatmapPanel({}), "nan"));
}

TEST(Figure, PanelsStandInRowsUnderTheLegend) {
  const std::string figure = Figure({"<g/>", "<g/>", "<g/>"}, 2, {"one", "two"});
  EXPECT_TRUE(absl::StrContains(figure, "viewBox=\"0 0 880 606\""));
  EXPECT_EQ(Count(figure, "translate("), 3);
  EXPECT_TRUE(absl::StrContains(figure, ">two<"));
  EXPECT_TRUE(absl::StartsWith(Figure({}, 3, {}), "<svg"));
}

}  // namespace
}  // namespace sieve
