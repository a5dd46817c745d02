#include "client/bench/trace.h"

#include <zlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace sieve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kMs = 1'000'000;

std::string PathOf(const std::string& name) {
  return std::filesystem::path(std::getenv("TEST_TMPDIR")) / name;
}

std::string WriteFile(const std::string& name, const std::string& text) {
  std::ofstream(PathOf(name), std::ios::binary) << text;
  return PathOf(name);
}

void ExpectRefused(const std::string& text, const std::string& part) {
  SCOPED_TRACE(text);
  const std::string path = WriteFile("bad", text);
  const auto trace = ReadTrace(path);
  ASSERT_FALSE(trace.ok());
  EXPECT_EQ(trace.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(trace.status().message()), HasSubstr(path + part));
}

constexpr char kAzure[] =
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    "2023-11-16 23:59:59.9799600,4808,10\r\n"
    "2023-11-17 00:00:01.0799600,3180,0\r\n";

TEST(TraceTest, Azure) {
  const auto trace = ReadTrace(WriteFile("azure.csv", kAzure));
  ASSERT_TRUE(trace.ok()) << trace.status();
  ASSERT_EQ(trace->size(), 2);
  EXPECT_EQ((*trace)[0].at_ns, 0);
  EXPECT_EQ((*trace)[0].prompt_tokens, 4808);
  EXPECT_EQ((*trace)[0].generated_tokens, 10);
  EXPECT_THAT((*trace)[0].blocks, IsEmpty());
  EXPECT_EQ((*trace)[1].at_ns, 1100 * kMs);
}

TEST(TraceTest, Mooncake) {
  const auto trace = ReadTrace(WriteFile(
      "mooncake.jsonl",
      R"({"timestamp": 3000, "input_length": 600, "output_length": 7, "hash_ids": [0, 46]})"
      "\n\n"
      R"({"timestamp": 1000, "input_length": 5, "output_length": 9})"));
  ASSERT_TRUE(trace.ok()) << trace.status();
  ASSERT_EQ(trace->size(), 2);
  EXPECT_EQ((*trace)[0].prompt_tokens, 5);  // in order of time
  EXPECT_EQ((*trace)[1].at_ns, 2000 * kMs);
  EXPECT_EQ((*trace)[1].generated_tokens, 7);
  EXPECT_THAT((*trace)[1].blocks, ElementsAre(0, 46));
}

TEST(TraceTest, Compressed) {
  const std::string path = PathOf("azure.csv.gz");
  const gzFile file = gzopen(path.c_str(), "wb");
  gzputs(file, kAzure);
  gzclose(file);
  const auto trace = ReadTrace(path);
  ASSERT_TRUE(trace.ok()) << trace.status();
  EXPECT_EQ(trace->size(), 2);
  // Cut short, its end is missed.
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 12);
  EXPECT_EQ(ReadTrace(path).status().code(), absl::StatusCode::kDataLoss);
}

TEST(TraceTest, BadLinesAreNamed) {
  const std::string header = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
  ExpectRefused("", ": no request in it");
  ExpectRefused(header, ": no request in it");
  ExpectRefused("a,b,c\n", ":1: expected the header TIMESTAMP");
  ExpectRefused(header + "2023-11-16 18:17:03.9,1,2\n2023-11-16,1,2\n", ":3: expected TIMESTAMP");
  ExpectRefused(header + "2023-11-16 18:17:03,1\n", ":2: expected TIMESTAMP");
  ExpectRefused(header + "2023-11-16 18:17:03,-1,2\n", ":2: expected TIMESTAMP");
  ExpectRefused(header + "2023-11-16 18:17:03,1,99999999999\n", ":2: expected TIMESTAMP");
  ExpectRefused("{\n", ":1: expected an object");
  ExpectRefused("{}\n", ":1: expected an object");
  const std::string good = R"({"timestamp":1,"input_length":2,"output_length":3})";
  ExpectRefused(good + "\n[]\n", ":2: expected an object");
  ExpectRefused(good + "\n" + R"({"timestamp":-1,"input_length":2,"output_length":3})",
                ":2: expected an object");
  ExpectRefused(R"({"timestamp":1,"input_length":1e30,"output_length":3})", ":1: expected");
  ExpectRefused(R"({"timestamp":"1","input_length":2,"output_length":3})", ":1: expected");
  ExpectRefused(R"({"timestamp":1,"input_length":2,"output_length":3,"hash_ids":[1,"2"]})",
                ":1: expected");
  ExpectRefused(R"({"timestamp":1,"input_length":2,"output_length":3,"hash_ids":7})",
                ":1: expected");
}

TEST(TraceTest, NoFile) {
  EXPECT_EQ(ReadTrace("/no/such/trace").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadTrace(PathOf("")).status().code(), absl::StatusCode::kDataLoss);  // a folder
}

std::vector<TraceRow> ThreeRows() {
  std::vector<TraceRow> rows(3);
  rows[1].at_ns = 1000 * kMs;
  rows[2].at_ns = 6000 * kMs;
  rows[1].prompt_tokens = 1000;
  rows[1].generated_tokens = 30;
  rows[1].blocks = {4, 5};
  return rows;
}

TEST(TraceWorkloadTest, ScalesTimesAndLengths) {
  const std::vector<TraceRow> rows = ThreeRows();
  BenchOptions options;
  options.time_scale = 2;
  options.length_scale = 0.125;
  const auto workload = MakeTraceWorkload(options, rows, 0, 0);
  const Arrival first = *workload->Next();
  EXPECT_EQ(first.at_ns, 0);
  EXPECT_EQ(first.prompt_tokens, 1);  // 0 in the file
  EXPECT_EQ(first.max_tokens, 1);
  const Arrival second = *workload->Next();
  EXPECT_EQ(second.at_ns, 2000 * kMs);
  EXPECT_EQ(second.prompt_tokens, 125);
  EXPECT_EQ(second.max_tokens, 4);
  EXPECT_EQ(second.block_tokens, 64);
  EXPECT_THAT(second.blocks, ElementsAre(4, 5));
  EXPECT_EQ(second.index, 1);
  EXPECT_TRUE(workload->Next());
  EXPECT_FALSE(workload->Next());
}

TEST(TraceWorkloadTest, StartsLater) {
  const std::vector<TraceRow> rows = ThreeRows();
  BenchOptions options;
  options.trace_start = absl::Seconds(1);
  options.time_scale = 0.5;
  const auto workload = MakeTraceWorkload(options, rows, 0, 0);
  const Arrival first = *workload->Next();
  EXPECT_EQ(first.at_ns, 0);
  EXPECT_EQ(first.index, 0);
  EXPECT_EQ(first.prompt_tokens, 1000);
  EXPECT_EQ(workload->Next()->at_ns, 2500 * kMs);
  EXPECT_FALSE(workload->Next());
}

TEST(TraceWorkloadTest, ARateSetsTheMeanRate) {
  const std::vector<TraceRow> rows = ThreeRows();
  const auto workload = MakeTraceWorkload({}, rows, 10, 0);
  workload->Next();
  // Three requests in 0.3 s instead of 6 s.
  EXPECT_EQ(workload->Next()->at_ns, 50 * kMs);
  EXPECT_EQ(workload->Next()->at_ns, 300 * kMs);
}

}  // namespace
}  // namespace sieve
