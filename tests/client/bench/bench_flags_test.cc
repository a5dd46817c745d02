#include "client/bench/bench_flags.h"

#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace sieve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<BenchOptions> Parse(std::vector<std::string> arguments) {
  BenchOptions options;
  FlagSet flags;
  AddBenchFlags(&flags, &options);
  std::vector<std::string> positional;
  absl::Status status = flags.Parse(arguments, &positional);
  status.Update(CheckBenchOptions(options));
  if (!status.ok()) return status;
  return options;
}

void ExpectRefused(std::vector<std::string> arguments, const std::string& part) {
  const absl::StatusOr<BenchOptions> options = Parse(std::move(arguments));
  ASSERT_FALSE(options.ok()) << part;
  EXPECT_THAT(std::string(options.status().message()), HasSubstr(part));
}

TEST(BenchFlagsTest, Ranges) {
  const auto options = Parse({"--rate=0.5", "--duration=10s", "--prompt_tokens=16..128",
                              "--max_tokens=8", "--cancel_fraction=1", "--cancel_after=50ms..2s"});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->prompt_tokens.low, 16);
  EXPECT_EQ(options->prompt_tokens.high, 128);
  EXPECT_EQ(options->max_tokens.low, 8);
  EXPECT_EQ(options->max_tokens.high, 8);
  EXPECT_EQ(options->cancel_after->low, absl::Milliseconds(50));
  EXPECT_EQ(options->cancel_after->high, absl::Seconds(2));
}

TEST(BenchFlagsTest, Lists) {
  const auto options = Parse({"--sweep=1,2.5,4", "--duration=1s", "--tenants=a,b"});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_THAT(options->sweep, ElementsAre(1, 2.5, 4));
  EXPECT_THAT(options->tenants.names, ElementsAre("a", "b"));
}

TEST(BenchFlagsTest, ATraceNeedsNeitherRateNorEnd) {
  EXPECT_TRUE(Parse({"--trace=x"}).ok());
  EXPECT_TRUE(Parse({"--trace=x", "--sweep=1,2", "--duration=1m", "--svg=x.svg"}).ok());
}

TEST(BenchFlagsTest, RefusesWhatIsNoWorkload) {
  ExpectRefused({"--duration=1s"}, "--rate, --sweep, --concurrency");
  ExpectRefused({"--rate=1"}, "--duration or --requests");
  ExpectRefused({"--rate=1", "--concurrency=1", "--duration=1s"}, "at a time");
  ExpectRefused({"--rate=0", "--duration=1s"}, "--rate must be above 0");
  ExpectRefused({"--rate=nan", "--duration=1s"}, "--rate must be above 0");
  ExpectRefused({"--sweep=1,-1", "--duration=1s"}, "every rate must be above 0");
  ExpectRefused({"--concurrency=0", "--duration=1s"}, "--concurrency must be 1 or more");
  ExpectRefused({"--rate=1", "--requests=0"}, "--requests must be 1 or more");
  ExpectRefused({"--rate=1", "--duration=1s", "--warmup=1s"}, "--warmup must be shorter");
  ExpectRefused({"--rate=1", "--duration=1s", "--prompt_tokens=0..4"}, "--prompt_tokens must be");
  ExpectRefused({"--rate=1", "--duration=1s", "--max_tokens=0"}, "--max_tokens must be");
  ExpectRefused({"--rate=1", "--duration=1s", "--prompt_tokens=9..4"}, "ends below its beginning");
  ExpectRefused({"--rate=1", "--duration=1s", "--prompt_tokens=9.."}, "expected a 32-bit integer");
  ExpectRefused({"--rate=1", "--duration=1s", "--cancel_fraction=0.5"}, "belong together");
  ExpectRefused({"--rate=1", "--duration=1s", "--cancel_after=1s"}, "belong together");
  ExpectRefused({"--rate=1", "--duration=1s", "--cancel_fraction=2", "--cancel_after=1s"},
                "in [0, 1]");
  ExpectRefused({"--rate=1", "--duration=1s", "--tenants=a,,b"}, "expected names between commas");
  ExpectRefused({"--rate=1", "--duration=1s", "--arrivals=uniform"}, "poisson or constant");
  ExpectRefused({"--trace=x", "--time_scale=0"}, "--time_scale must be");
  ExpectRefused({"--trace=x", "--length_scale=-1"}, "--length_scale must be");
  ExpectRefused({"--trace=x", "--max_prompt_tokens=-1"}, "must not be negative");
  ExpectRefused({"--rate=1", "--duration=1s", "--svg=x.svg"}, "--svg needs a --sweep");
  ExpectRefused({"--rate=1", "--duration=1s", "--connections=0"}, "--connections must be");
  ExpectRefused({"--rate=1", "--duration=1s", "--max_in_flight=0"}, "--max_in_flight must be");
}

}  // namespace
}  // namespace sieve
