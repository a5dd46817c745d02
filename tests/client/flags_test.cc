#include "client/flags.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace sieve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class FlagsTest : public testing::Test {
 protected:
  FlagsTest() {
    flags_.Add("text", "a text", &text_);
    flags_.Add("count", "a number", &count_);
    flags_.Add("ratio", "a number", &ratio_);
    flags_.Add("on", "a switch", &on_);
    flags_.Add("stop_text", "texts", &stops_);
    flags_.Add("ids", "numbers", &ids_);
    flags_.Add("wait", "a time", &wait_);
    flags_.Add("bias", "pairs", &bias_);
    flags_.Add("seed", "a number", &seed_);
  }

  absl::Status Parse(std::vector<std::string> arguments) {
    return flags_.Parse(arguments, &positional_);
  }

  FlagSet flags_;
  std::optional<std::string> text_;
  std::optional<int32_t> count_;
  std::optional<float> ratio_;
  std::optional<uint64_t> seed_;
  bool on_ = true;
  std::vector<std::string> stops_;
  std::vector<int32_t> ids_;
  std::vector<LogitBiasFlag> bias_;
  absl::Duration wait_ = absl::Seconds(7);
  std::vector<std::string> positional_;
};

TEST_F(FlagsTest, WhatIsNotGivenStays) {
  ASSERT_TRUE(Parse({}).ok());
  EXPECT_FALSE(text_.has_value());
  EXPECT_FALSE(count_.has_value());
  EXPECT_TRUE(on_);
  EXPECT_THAT(stops_, IsEmpty());
  EXPECT_EQ(wait_, absl::Seconds(7));
}

TEST_F(FlagsTest, TakesEveryWayToWriteAValue) {
  ASSERT_TRUE(
      Parse({"--text=a=b", "--count", "-3", "--noon", "one", "--ratio=nan", "--", "--two"}).ok());
  EXPECT_EQ(text_, "a=b");
  EXPECT_EQ(count_, -3);
  EXPECT_FALSE(on_);
  EXPECT_TRUE(std::isnan(*ratio_));
  EXPECT_THAT(positional_, ElementsAre("one", "--two"));
}

TEST_F(FlagsTest, AnEmptyValueIsAValue) {
  ASSERT_TRUE(Parse({"--text="}).ok());
  EXPECT_EQ(text_, "");
}

TEST_F(FlagsTest, RepeatedFlagsAddUp) {
  ASSERT_TRUE(Parse({"--stop_text", "a,b", "--stop-text=", "--ids=1,2", "--ids=3", "--bias=5:-1.5",
                     "--bias=6:2"})
                  .ok());
  EXPECT_THAT(stops_, ElementsAre("a,b", ""));
  EXPECT_THAT(ids_, ElementsAre(1, 2, 3));
  ASSERT_EQ(bias_.size(), 2);
  EXPECT_EQ(bias_[0].token_id, 5);
  EXPECT_EQ(bias_[0].bias, -1.5f);
}

TEST_F(FlagsTest, ReadsTimes) {
  ASSERT_TRUE(Parse({"--wait=250ms"}).ok());
  EXPECT_EQ(wait_, absl::Milliseconds(250));
  ASSERT_TRUE(Parse({"--wait=1.5"}).ok());
  EXPECT_EQ(wait_, absl::Seconds(1.5));
}

TEST_F(FlagsTest, ErrorsNameTheFlag) {
  for (const auto& [argument, part] : std::vector<std::pair<std::string, std::string>>{
           {"--nothing", "unknown flag --nothing"},
           {"--nocount", "unknown flag --nocount"},
           {"--count=12x", "--count: expected"},
           {"--count=2147483648", "--count: expected"},
           {"--seed=-1", "--seed: expected"},
           {"--seed=18446744073709551616", "--seed: expected"},
           {"--ratio=", "--ratio: expected"},
           {"--on=maybe", "--on: expected"},
           {"--ids=1,,2", "--ids: expected"},
           {"--wait=0", "--wait: expected"},
           {"--wait=-1s", "--wait: expected"},
           {"--wait=soon", "--wait: expected"},
           {"--bias=5", "--bias: expected"},
           {"--bias=:1", "--bias: expected"},
           {"--text", "--text needs a value"}}) {
    const absl::Status status = Parse({argument});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << argument;
    EXPECT_THAT(std::string(status.message()), HasSubstr(part)) << argument;
  }
}

TEST_F(FlagsTest, HelpNamesEveryFlag) {
  EXPECT_THAT(flags_.Help(), HasSubstr("--stop_text"));
  EXPECT_THAT(flags_.Help(), HasSubstr("a switch"));
}

}  // namespace
}  // namespace sieve
