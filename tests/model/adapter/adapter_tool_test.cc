// The tool as its users run it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <string>

#include "model/adapter/adapter_file.h"
#include "tests/model/checkpoint/test_files.h"
#include "tests/testdata/tiny_llama.h"

namespace sieve {
namespace {

using testing::AllOf;
using testing::HasSubstr;

struct Result {
  int status = -1;
  std::string text;  // both outputs
};

Result RunTool(const std::string& arguments) {
  Result result;
  FILE* pipe = popen(("model/adapter/adapter_tool " + arguments + " 2>&1").c_str(), "r");
  char buffer[4096];
  while (const size_t count = fread(buffer, 1, sizeof(buffer), pipe)) {
    result.text.append(buffer, count);
  }
  result.status = WEXITSTATUS(pclose(pipe));
  return result;
}

class AdapterToolTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(WriteTinyHfFolder(root_ + "/model", {}).ok()); }
  Result Init(const std::string& options) {
    return RunTool("init --model " + root_ + "/model --out " + root_ + "/made " + options);
  }

  const std::string root_ = TestFolder();
};

TEST_F(AdapterToolTest, MakesAnAdapterThatFitsItsModel) {
  const Result made = Init("--selector quest --selected_blocks 4 --dense_layers 0");
  ASSERT_EQ(made.status, 0) << made.text;
  const auto adapter = OpenAdapter(root_ + "/made");
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  EXPECT_EQ(adapter->config.selector, Selector::kQuest);
  EXPECT_EQ(adapter->config.selected_blocks, 4);
  EXPECT_EQ(adapter->config.dense_layers, std::vector<int64_t>{0});
  EXPECT_FALSE(adapter->config.tail);
  EXPECT_TRUE(AdapterTensors(adapter->config).empty());

  const Result alone = RunTool("inspect " + root_ + "/made");
  EXPECT_EQ(alone.status, 0) << alone.text;
  EXPECT_THAT(alone.text, AllOf(HasSubstr("\"selector\": \"quest\""), HasSubstr("\nall "),
                                HasSubstr(adapter->digest)));
  const Result fitting = RunTool("inspect " + root_ + "/made --model " + root_ + "/model");
  EXPECT_EQ(fitting.status, 0) << fitting.text;
  EXPECT_THAT(fitting.text, AllOf(HasSubstr("% of base"), HasSubstr("fits ")));
}

TEST_F(AdapterToolTest, TellsAModelThatItDoesNotFit) {
  ASSERT_EQ(Init("").status, 0);
  TinyLlamaSpec other;
  other.seed = 2;
  ASSERT_TRUE(WriteTinyHfFolder(root_ + "/other", other).ok());
  const Result result = RunTool("inspect " + root_ + "/made --model " + root_ + "/other");
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.text, AllOf(HasSubstr("\"model\""), HasSubstr("\"other\""),
                                 HasSubstr("weights"), HasSubstr("% of base")));
}

TEST_F(AdapterToolTest, RefusesWhatItCannotDo) {
  EXPECT_THAT(RunTool("").text, HasSubstr("expected"));
  EXPECT_EQ(RunTool("").status, 1);
  EXPECT_THAT(RunTool("init --out x").text, HasSubstr("--model is not given"));
  EXPECT_THAT(RunTool("inspect " + root_ + "/none").text, HasSubstr("/none"));
  EXPECT_THAT(Init("--selector index").text, HasSubstr("trainer"));
  EXPECT_THAT(Init("--selector compressed").text, HasSubstr("trainer"));
  EXPECT_THAT(Init("--selector best").text, HasSubstr("quest_mean"));
  EXPECT_THAT(Init("--query_tile 5").text, HasSubstr("query_tile"));
  EXPECT_THAT(Init("--dense_layers 0,x").text, HasSubstr("not a number: x"));
  EXPECT_FALSE(std::filesystem::exists(root_ + "/made"));
}

}  // namespace
}  // namespace sieve
