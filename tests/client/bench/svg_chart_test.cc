#include "client/bench/svg_chart.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace sieve {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(TicksTest, Linear) {
  EXPECT_THAT(LinearTicks(4), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(LinearTicks(230), ElementsAre(0, 50, 100, 150, 200, 250));
  EXPECT_THAT(
      LinearTicks(0.19),
      ElementsAre(0, DoubleEq(0.02), DoubleEq(0.04), DoubleEq(0.06), DoubleEq(0.08), DoubleEq(0.1),
                  DoubleEq(0.12), DoubleEq(0.14), DoubleEq(0.16), DoubleEq(0.18), DoubleEq(0.2)));
}

TEST(TicksTest, LinearReachTheHighest) {
  for (double highest = 0.001; highest < 1e6; highest *= 1.37) {
    const std::vector<double> ticks = LinearTicks(highest);
    EXPECT_GE(ticks.back(), highest * (1 - 1e-9));
    EXPECT_GE(ticks.size(), 5);
    EXPECT_LE(ticks.size(), 12);
  }
}

TEST(TicksTest, Log) {
  EXPECT_THAT(LogTicks(3, 30), ElementsAre(2, 5, 10, 20, 50));
  EXPECT_THAT(LogTicks(10, 100), ElementsAre(10, 20, 50, 100));
  EXPECT_THAT(LogTicks(7, 7), ElementsAre(5, 10));
  EXPECT_THAT(LogTicks(10, 10), ElementsAre(10, 20));
  EXPECT_THAT(LogTicks(1, 20'000), ElementsAre(1, 10, 100, 1000, 10'000, 100'000));
}

Chart OnePanel(std::vector<ChartPoint> points) {
  return {"Title & more", "a < b", {{"Panel", "x", {{"p50", "red", std::move(points)}}}}};
}

TEST(SvgChartTest, PointsStandWhereTheyBelong) {
  const std::string svg = DrawSvg(OnePanel({{0, 1, ""}, {50, 10, "mid"}, {100, 100, ""}}));
  EXPECT_THAT(svg, HasSubstr("<polyline points=\"62.0,396.0 262.0,246.0 462.0,96.0\""));
  EXPECT_THAT(svg, HasSubstr(">mid</text>"));
  EXPECT_THAT(svg, HasSubstr("Title &amp; more"));
  EXPECT_THAT(svg, HasSubstr("a &lt; b"));
}

TEST(SvgChartTest, NothingToDrawIsAnEmptyPlot) {
  EXPECT_THAT(DrawSvg(OnePanel({})), HasSubstr("</svg>"));
  EXPECT_THAT(DrawSvg(OnePanel({{5, 0, "gone"}})), Not(HasSubstr("gone")));
}

}  // namespace
}  // namespace sieve
