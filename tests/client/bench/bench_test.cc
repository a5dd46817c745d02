#include "client/bench/bench.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/bench/timed_server.h"

namespace sieve {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Json = nlohmann::json;

std::vector<Json> Lines(const std::string& text) {
  std::vector<Json> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(Json::parse(line));
  return lines;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

struct Result {
  ExitCode code;
  std::vector<Json> lines;
  std::string table;
};

Result RunAgainst(FakeServer* server, const BenchOptions& options) {
  Session session = server->MakeSession();
  session.json = true;
  const ExitCode code = RunBench(session, options, [server] { return server->NewStub(); });
  return {code, Lines(server->out.str()), server->err.str()};
}

BenchOptions Quick() {
  BenchOptions options;
  options.rate = 200;
  options.requests = 20;
  options.max_tokens = {3, 3};
  return options;
}

TEST(BenchTest, OneLineSaysAll) {
  TimedServer server({.messages = 3});
  BenchOptions options = Quick();
  options.tenants.names = {"a"};
  options.slo_ttft = absl::Hours(1);
  const Result result = RunAgainst(&server.fake(), options);
  EXPECT_EQ(result.code, ExitCode::kOk);
  ASSERT_EQ(result.lines.size(), 1);
  const Json& line = result.lines[0];
  EXPECT_EQ(line["measurement"], "bench");
  EXPECT_EQ(line["parameters"]["rate"], 200);
  EXPECT_EQ(line["parameters"]["seed"], 1);
  EXPECT_EQ(line["parameters"]["slo_ttft"], "1h");
  EXPECT_EQ(line["requests"]["offered"], 20);
  EXPECT_EQ(line["requests"]["by_code"]["OK"], 20);
  EXPECT_EQ(line["requests"]["good"], 20);
  EXPECT_EQ(line["time_to_first_token_ms"]["count"], 20);
  EXPECT_EQ(line["inter_token_ms"]["count"], 40);
  EXPECT_EQ(line["tenants"]["a"]["offered"], 20);
  for (const char* name : {"p50", "p90", "p95", "p99", "p99.9", "max"}) {
    EXPECT_TRUE(line["end_to_end_ms"].contains(name)) << name;
  }
  EXPECT_GT(line["tokens_per_second"], 0);
  EXPECT_THAT(result.table, HasSubstr("20 requests: OK 20; good 20"));
  EXPECT_THAT(result.table, HasSubstr("first token "));
}

TEST(BenchTest, ASweepIsARunForEachRate) {
  TimedServer server({});
  BenchOptions options = Quick();
  options.rate.reset();
  options.sweep = {100, 400};
  options.output = std::filesystem::path(std::getenv("TEST_TMPDIR")) / "sweep.jsonl";
  const Result result = RunAgainst(&server.fake(), options);
  ASSERT_EQ(result.lines.size(), 2);
  EXPECT_EQ(result.lines[0]["rate"], 100);
  EXPECT_EQ(result.lines[1]["rate"], 400);
  EXPECT_EQ(Lines(ReadFile(options.output)), result.lines);
}

TEST(BenchTest, DrawsASweep) {
  TimedServer server({.messages = 3});
  BenchOptions options = Quick();
  options.rate.reset();
  options.sweep = {100, 400};
  options.svg = std::filesystem::path(std::getenv("TEST_TMPDIR")) / "curve.svg";
  EXPECT_EQ(RunAgainst(&server.fake(), options).code, ExitCode::kOk);
  EXPECT_THAT(ReadFile(options.svg), StartsWith("<svg "));
  options.svg = "/no/such/folder/curve.svg";
  EXPECT_EQ(RunAgainst(&server.fake(), options).code, ExitCode::kUsage);
  EXPECT_THAT(server.fake().err.str(), HasSubstr("cannot write /no/such/folder/curve.svg"));
}

TEST(BenchTest, ReplaysATrace) {
  TimedServer server({});
  BenchOptions options;
  options.trace = std::filesystem::path(std::getenv("TEST_TMPDIR")) / "trace.jsonl";
  options.time_scale = 0.01;
  options.length_scale = 0.125;
  std::ofstream(options.trace)
      << R"({"timestamp":0,"input_length":800,"output_length":16,"hash_ids":[1,2]})" << '\n'
      << R"({"timestamp":20000,"input_length":1200,"output_length":8,"hash_ids":[1,2,3]})" << '\n';
  const Result result = RunAgainst(&server.fake(), options);
  EXPECT_EQ(result.code, ExitCode::kOk);
  EXPECT_EQ(result.lines.at(0)["parameters"]["trace"], "trace.jsonl");
  EXPECT_EQ(result.lines.at(0)["requests"]["by_code"]["OK"], 2);
  const std::vector<v1::GenerateRequest> requests = server.fake().generation.requests();
  ASSERT_EQ(requests.size(), 2);
  EXPECT_EQ(requests[0].token_ids().ids_size(), 100);
  EXPECT_EQ(requests[0].stop().max_tokens(), 2);
  EXPECT_EQ(requests[1].token_ids().ids_size(), 150);
  // The shared blocks, whole and in part.
  EXPECT_TRUE(std::equal(requests[0].token_ids().ids().begin(), requests[0].token_ids().ids().end(),
                         requests[1].token_ids().ids().begin()));
}

TEST(BenchTest, ATraceThatIsOverBeforeItsStart) {
  TimedServer server({});
  BenchOptions options;
  options.trace = std::filesystem::path(std::getenv("TEST_TMPDIR")) / "short.jsonl";
  options.trace_start = absl::Seconds(1);
  std::ofstream(options.trace) << R"({"timestamp":0,"input_length":8,"output_length":1})";
  EXPECT_EQ(RunAgainst(&server.fake(), options).code, ExitCode::kUsage);
  EXPECT_THAT(server.fake().err.str(), HasSubstr("no request after --trace_start"));
}

TEST(BenchTest, ABadTraceIsWrongUsage) {
  TimedServer server({});
  BenchOptions options;
  options.trace = "/no/such/trace";
  EXPECT_EQ(RunAgainst(&server.fake(), options).code, ExitCode::kUsage);
  EXPECT_THAT(server.fake().err.str(), HasSubstr("cannot open /no/such/trace"));
}

TEST(BenchTest, SaysWhenNotAllWasSent) {
  TimedServer server({.first_token_ns = 200'000'000});
  BenchOptions options = Quick();
  options.max_in_flight = 2;
  const Result result = RunAgainst(&server.fake(), options);
  EXPECT_EQ(result.lines[0]["requests"]["unsent"], 18);
  EXPECT_THAT(result.table, HasSubstr("WARNING: 18 requests were not sent"));
}

TEST(BenchTest, CutsToTheContextAndSaysSo) {
  TimedServer server({});
  BenchOptions options = Quick();
  options.prompt_tokens = {4095, 4095};
  const Result result = RunAgainst(&server.fake(), options);
  EXPECT_EQ(result.lines[0]["requests"]["clipped"], 20);
  EXPECT_EQ(server.fake().generation.requests().at(0).stop().max_tokens(), 1);
}

TEST(BenchTest, NoServer) {
  TimedServer server({});
  server.fake().Stop();
  EXPECT_EQ(RunAgainst(&server.fake(), Quick()).code, ExitCode::kUnavailable);
  EXPECT_THAT(server.fake().err.str(), HasSubstr("UNAVAILABLE"));
}

TEST(BenchTest, AnOutputThatCannotBeWritten) {
  TimedServer server({});
  BenchOptions options = Quick();
  options.output = "/no/such/folder/out.jsonl";
  EXPECT_EQ(RunAgainst(&server.fake(), options).code, ExitCode::kUsage);
  EXPECT_THAT(server.fake().err.str(), HasSubstr("cannot write /no/such/folder/out.jsonl"));
}

}  // namespace
}  // namespace sieve
