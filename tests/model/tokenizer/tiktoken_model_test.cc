#include "model/tokenizer/tiktoken_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "tests/testdata/files.h"

namespace sieve {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kNumRanks = 128000;

// The 256 bytes and made-up tokens.
std::vector<std::string> Lines() {
  std::vector<std::string> lines;
  for (int rank = 0; rank < kNumRanks; ++rank) {
    const std::string token =
        rank < 256 ? std::string(1, static_cast<char>(rank)) : absl::StrCat("token", rank);
    lines.push_back(absl::StrCat(absl::Base64Escape(token), " ", rank));
  }
  return lines;
}

absl::StatusOr<Vocabulary> Read(const std::vector<std::string>& lines, const char* end = "\n") {
  std::string text;
  for (size_t i = 0; i < lines.size(); ++i) {
    text += lines[i];
    text += i + 1 < lines.size() ? "\n" : end;
  }
  const std::string path = testing::TempDir() + "/tokenizer.model";
  EXPECT_TRUE(WriteFile(path, text).ok());
  return ReadTiktokenModel(path);
}

TEST(TiktokenModelTest, ReadsRanksAndAddsLlama3sSpecialTokens) {
  for (const char* end : {"\n", ""}) {
    const auto vocabulary = Read(Lines(), end);
    ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
    ASSERT_EQ(vocabulary->tokens.size(), 128256u);
    EXPECT_EQ(vocabulary->tokens[255].bytes, "\xFF");
    EXPECT_EQ(vocabulary->tokens[127999].bytes, "token127999");
    EXPECT_EQ(vocabulary->tokens[127999].kind, Vocabulary::Kind::kNormal);
    EXPECT_EQ(vocabulary->tokens[128000].kind, Vocabulary::Kind::kSpecial);
    EXPECT_EQ(vocabulary->tokens[128000].bytes, "<|begin_of_text|>");
    EXPECT_EQ(vocabulary->tokens[128006].bytes, "<|start_header_id|>");
    EXPECT_EQ(vocabulary->tokens[128009].bytes, "<|eot_id|>");
    EXPECT_EQ(vocabulary->tokens[128010].bytes, "<|python_tag|>");
    EXPECT_EQ(vocabulary->tokens[128255].bytes, "<|reserved_special_token_247|>");
    EXPECT_EQ(vocabulary->bos, 128000);
    EXPECT_TRUE(vocabulary->add_bos);
    EXPECT_TRUE(vocabulary->merge_by_id);
    EXPECT_TRUE(vocabulary->ignore_merges);
    EXPECT_THAT(vocabulary->eos, ElementsAre(128001, 128008, 128009));
  }
}

TEST(TiktokenModelTest, RefusesMalformedLinesByNumber) {
  const struct {
    const char* line;
    const char* reason;
  } kCases[] = {
      {"", "a space and a rank"},
      {"IQ==", "a space and a rank"},
      {" 4", "not base64"},
      {"I!== 4", "not base64"},
      {"IQ== ", "rank is not 0 to 127999"},
      {"IQ== x", "rank is not 0 to 127999"},
      {"IQ== -1", "rank is not 0 to 127999"},
      {"IQ== 128000", "rank is not 0 to 127999"},
      {"IQ== 99999999999", "rank is not 0 to 127999"},
      {"IQ== 3", "3 appears twice"},
  };
  for (const auto& test : kCases) {
    std::vector<std::string> lines = Lines();
    lines[4] = test.line;
    const absl::Status status = Read(lines).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << test.line;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("tokenizer.model: line 5"), HasSubstr(test.reason)));
  }
}

TEST(TiktokenModelTest, RefusesOtherNumbersOfTokens) {
  EXPECT_THAT(std::string(Read({}).status().message()), HasSubstr("0 tokens"));
  std::vector<std::string> lines = Lines();
  lines.pop_back();
  EXPECT_THAT(std::string(Read(lines).status().message()), HasSubstr("127999 tokens"));
}

TEST(TiktokenModelTest, RefusesAMissingByte) {
  std::vector<std::string> lines = Lines();
  lines[7] = "YWE= 7";
  EXPECT_THAT(std::string(Read(lines).status().message()), HasSubstr("no token for byte 7"));
}

TEST(TiktokenModelTest, NoSuchFile) {
  EXPECT_TRUE(absl::IsNotFound(ReadTiktokenModel("/nonexistent/tokenizer.model").status()));
}

}  // namespace
}  // namespace sieve
