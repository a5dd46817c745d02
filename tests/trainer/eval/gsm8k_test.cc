#include "trainer/eval/gsm8k.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace sieve {
namespace {

TEST(AnswerOf, TheMarkedNumber) {
  EXPECT_EQ(AnswerOf("3 and 4 are 7.\n#### 7\n\nand 8"), 7);
  EXPECT_EQ(AnswerOf("#### 1,234"), 1234);
  EXPECT_EQ(AnswerOf("#### $5"), 5);
  EXPECT_EQ(AnswerOf("#### -5"), -5);
  EXPECT_EQ(AnswerOf("####3.50."), 3.5);
}

TEST(AnswerOf, ElseTheLastNumber) {
  EXPECT_EQ(AnswerOf("It is 12, so 3 x 12 = 36."), 36);
  EXPECT_EQ(AnswerOf("of 10-4 or 6, then 5, 6,"), 6);
  EXPECT_EQ(AnswerOf("5-3"), 3);
  EXPECT_EQ(AnswerOf("1,000,000.25 in all"), 1000000.25);
  EXPECT_EQ(AnswerOf("12 ####"), 12);
}

TEST(AnswerOf, NoNumber) {
  EXPECT_EQ(AnswerOf(""), std::nullopt);
  EXPECT_EQ(AnswerOf("####"), std::nullopt);
  EXPECT_EQ(AnswerOf("none - at, all."), std::nullopt);
}

TEST(Gsm8kPrompt, ShotsThenTheQuestion) {
  EXPECT_EQ(Gsm8kPrompt({{"a?", "1\n#### 1"}, {"b?", "#### 2"}}, "c?"),
            "Question: a?\nAnswer: 1\n#### 1\n\nQuestion: b?\nAnswer: #### 2\n\nQuestion: "
            "c?\nAnswer:");
  EXPECT_EQ(Gsm8kPrompt({}, "c?"), "Question: c?\nAnswer:");
}

TEST(ReadGsm8k, ReadsAndRefuses) {
  const std::string path = testing::TempDir() + "/problems.jsonl";
  std::ofstream(path) << R"({"question": "q", "answer": "#### 3"})"
                      << "\n\n"
                      << R"({"question": "r", "answer": "none"})"
                      << "\n";
  const auto first = ReadGsm8k(path, 1);
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_EQ(first->size(), 1);
  EXPECT_EQ((*first)[0].question, "q");
  const auto all = ReadGsm8k(path, 0);
  EXPECT_EQ(all.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(all.status().message().find("answer 2 has no number"), std::string::npos);
  std::ofstream(path) << "{}\n";
  EXPECT_FALSE(ReadGsm8k(path, 0).ok());
  std::ofstream(path) << "[1]\n";
  EXPECT_NE(ReadGsm8k(path, 0).status().message().find("line 1"), std::string::npos);
  EXPECT_EQ(ReadGsm8k(path + ".none", 0).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace sieve
