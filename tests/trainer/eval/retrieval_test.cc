#include "trainer/eval/retrieval.h"

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "tests/trainer/tiny_model.h"
#include "trainer/eval/engine_model.h"
#include "trainer/eval/table.h"

namespace sieve {
namespace {

class RetrievalTest : public testing::Test {
 protected:
  RetrievalTest() : checkpoint_(OpenTinyModel({}, /*gguf=*/true)) {
    auto tokenizer = Tokenizer::Create(checkpoint_->vocabulary());
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
    book_ = tokenizer_->Encode(std::string(2000, 'x'), {.add_special_tokens = false});
  }

  std::string Text(const RetrievalCase& one) const {
    return DecodeBytes(*tokenizer_, one.prompt, true);
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<int32_t> book_;
};

TEST_F(RetrievalTest, PassKeysAreInPromptsOfTheirLength) {
  const auto cases =
      PasskeyCases(*tokenizer_, book_, {.lengths = {500, 700}, .cases = 4, .seed = 5});
  ASSERT_TRUE(cases.ok()) << cases.status();
  ASSERT_EQ(cases->size(), 8);
  size_t place = 0;
  for (size_t i = 0; i < cases->size(); ++i) {
    const RetrievalCase& one = (*cases)[i];
    EXPECT_EQ(one.prompt.size(), i < 4 ? 500 : 700);
    EXPECT_EQ(one.group, i < 4 ? "passkey 500" : "passkey 700");
    EXPECT_EQ(one.expected.size(), 5);
    const size_t found = Text(one).find("The pass key is the number " + one.expected + ".");
    ASSERT_NE(found, std::string::npos);
    EXPECT_TRUE(i % 4 == 0 || found > place);  // deeper and deeper
    place = found;
    EXPECT_EQ(Text(one).substr(Text(one).size() - 26), "The pass key is the number");
  }
}

TEST_F(RetrievalTest, PassKeysDependOnTheSeedAlone) {
  const PasskeyOptions options = {.lengths = {500}, .cases = 3, .seed = 5};
  const auto a = PasskeyCases(*tokenizer_, book_, options);
  const auto b = PasskeyCases(*tokenizer_, book_, options);
  const auto c = PasskeyCases(*tokenizer_, book_, {.lengths = {500}, .cases = 3, .seed = 6});
  EXPECT_EQ((*a)[2].prompt, (*b)[2].prompt);
  EXPECT_NE((*a)[2].expected, (*c)[2].expected);
}

TEST_F(RetrievalTest, PassKeysNeedRoomAndABook) {
  EXPECT_EQ(PasskeyCases(*tokenizer_, book_, {.lengths = {50}}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(PasskeyCases(*tokenizer_, {}, {.lengths = {500}}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(RetrievalTest, ReadsLines) {
  const std::string path = testing::TempDir() + "/lines.jsonl";
  std::ofstream(path) << R"({"random_idx": ["a-b", 3], "expected_number": 42, "num_lines": 4,)"
                      << R"( "prompt": "line a-b: <42>\n\nWhich? "})"
                      << "\n";
  const auto cases = LineCases(*tokenizer_, path, 0);
  ASSERT_TRUE(cases.ok()) << cases.status();
  ASSERT_EQ(cases->size(), 1);
  EXPECT_EQ((*cases)[0].group, "lines 4");
  EXPECT_EQ((*cases)[0].expected, "42");
  EXPECT_EQ((*cases)[0].depth, 0.75);
  EXPECT_EQ(Text((*cases)[0]), "line a-b: <42>\n\nWhich?\nThe <REGISTER_CONTENT> in line a-b is <");
  std::ofstream(path) << R"({"random_idx": ["a-b"], "expected_number": 42, "num_lines": 4,)"
                      << R"( "prompt": "x"})"
                      << "\n";
  EXPECT_EQ(LineCases(*tokenizer_, path, 0).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Recalls, TheFirstNumberWhole) {
  EXPECT_TRUE(Recalls(" 12345. 7", "12345"));
  EXPECT_TRUE(Recalls("12345", "12345"));
  EXPECT_FALSE(Recalls(" 123456", "12345"));
  EXPECT_FALSE(Recalls(" 1234", "12345"));
  EXPECT_FALSE(Recalls("7, 12345", "12345"));
  EXPECT_FALSE(Recalls("", "12345"));
}

TEST_F(RetrievalTest, GroupsRowsAndWhatIsTooLong) {
  const std::vector<Variant> variants = {
      {"a", std::make_shared<Adapter>(SeededAdapter(TinyAdapterConfig(checkpoint_->config()), 3)),
       1}};
  const auto model = OpenEngineModel(checkpoint_->config(), checkpoint_->weights(), variants,
                                     {.device = Device::kCpu, .cache_pages = 40});
  ASSERT_TRUE(model.ok()) << model.status();
  auto cases = PasskeyCases(*tokenizer_, book_, {.lengths = {300, 400, 1020}, .cases = 2});
  ASSERT_TRUE(cases.ok()) << cases.status();
  (*cases)[0].expected = "";  // what a random model that says no number recalls
  const auto found = EvaluateRetrieval(model->get(), *tokenizer_, variants, *cases,
                                       {.greedy = {.max_tokens = kRetrievalTokens}});
  ASSERT_TRUE(found.ok()) << found.status();
  nlohmann::ordered_json results = {{"task", "retrieval"}};
  results.update(*found);
  ASSERT_EQ(results["groups"].size(), 3);
  EXPECT_EQ(results["groups"][0]["cases"], 2);
  EXPECT_EQ(results["groups"][2]["cases"], 0);
  EXPECT_EQ(results["groups"][2]["too_long"], 2);
  EXPECT_TRUE(results["groups"][2]["rows"][1]["rate"].is_null());
  const auto& rows = results["groups"][0]["rows"];
  ASSERT_EQ(rows.size(), 2);
  EXPECT_EQ(rows[0]["adapter"], "dense");
  EXPECT_EQ(rows[1]["adapter"], "a");
  EXPECT_EQ(rows[1]["trials"], 2);
  EXPECT_EQ(rows[1]["quarters"].size(), 4);
  EXPECT_EQ(rows[1]["quarters"][1]["trials"], 1);  // depths 0.25 and 0.75
  EXPECT_EQ(rows[1]["quarters"][3]["trials"], 1);
  EXPECT_EQ(results["cases"].size(), 4);
  const std::string table = MarkdownTables(results);
  EXPECT_NE(table.find("passkey 400: 2 prompts, 0 too long"), std::string::npos) << table;
}

}  // namespace
}  // namespace sieve
