#include "trainer/token_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "model/checkpoint/checkpoint.h"
#include "tests/testdata/tiny_llama.h"

namespace sieve {
namespace {

class TokenFileTest : public testing::Test {
 protected:
  TokenFileTest() : folder_(testing::TempDir() + "/corpus") {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    const std::string model = folder_ + "/model";
    EXPECT_TRUE(WriteTinyHfFolder(model, {}).ok());
    const auto checkpoint = OpenCheckpoint(model);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    tokenizer_ = *Tokenizer::Create((*checkpoint)->vocabulary());
  }

  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name, std::ios::binary) << text;
    return folder_ + "/" + name;
  }

  const std::string folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(TokenFileTest, AnswersAreMarkedAndOptionsAreInTheDigest) {
  TextSource source = {.path = Write("q.jsonl",
                                     "{\"question\": \"a\", \"answer\": \"b\"}\n"
                                     "{\"question\": \"c\", \"answer\": \"de\"}\n"),
                       .format = TextFormat::kGsm8k};
  const auto apart = TokeniseOnce({source}, *tokenizer_, folder_ + "/tokens");
  ASSERT_TRUE(apart.ok()) << apart.status();
  const auto texts = [this](const TokenFile& file) {
    std::vector<std::string> out;
    for (const TokenRange& answer : file.answers()) {
      out.push_back(DecodeBytes(
          *tokenizer_, file.tokens().subspan(answer.begin, answer.end - answer.begin), true));
    }
    return out;
  };
  EXPECT_EQ(texts(*apart), std::vector<std::string>({" b", " de"}));
  EXPECT_EQ(apart->document_ends().size(), 2);
  EXPECT_EQ(DecodeBytes(*tokenizer_, apart->tokens(), true),
            "Question: a\nAnswer: bQuestion: c\nAnswer: de");
  source.join = 2;
  const auto joined = TokeniseOnce({source}, *tokenizer_, folder_ + "/tokens");
  ASSERT_TRUE(joined.ok()) << joined.status();
  EXPECT_NE(joined->digest(), apart->digest());
  EXPECT_EQ(texts(*joined), std::vector<std::string>({" b", " de"}));
  EXPECT_EQ(joined->document_ends().size(), 1);
}

TEST_F(TokenFileTest, ConversationsAreInTheModelsFormat) {
  const TextSource source = {
      .path = Write("c.jsonl", "{\"instruction\": \"a\", \"response\": \"b\"}\n"),
      .fields = {"instruction", "input", "response"},
      .format = TextFormat::kChat};
  const auto file = TokeniseOnce({source}, *tokenizer_, folder_ + "/tokens");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(DecodeBytes(*tokenizer_, file->tokens(), true),
            "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n");
  ASSERT_EQ(file->answers().size(), 1);
  const TokenRange answer = file->answers()[0];
  EXPECT_EQ(DecodeBytes(*tokenizer_,
                        file->tokens().subspan(answer.begin, answer.end - answer.begin), true),
            "b<|im_end|>");
}

TEST_F(TokenFileTest, RetrievalDocumentsAreMadeOfASource) {
  std::string text;
  for (int i = 0; i < 500; ++i) text += "some more words lie here. ";
  TextSource source = {.path = Write("a.txt", text)};
  source.retrieval = {.documents = 3, .tokens = 1500, .facts = {2}, .seed = 5};
  const auto file = TokeniseOnce({source}, *tokenizer_, folder_ + "/tokens");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(std::vector<int64_t>(file->document_ends().begin(), file->document_ends().end()),
            std::vector<int64_t>({1500, 3000, 4500}));
  EXPECT_EQ(file->answers().size(), 6);
  source.retrieval.seed = 6;
  const auto other = TokeniseOnce({source}, *tokenizer_, folder_ + "/tokens");
  ASSERT_TRUE(other.ok());
  EXPECT_NE(other->digest(), file->digest());
  source.retrieval.tokens = 50;
  const auto none = TokeniseOnce({source}, *tokenizer_, folder_ + "/tokens").status();
  EXPECT_EQ(none.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(none.message(), "a.txt")) << none;
}

TEST_F(TokenFileTest, IsMadeOnceAndHasTheDocuments) {
  const std::vector<TextSource> sources = {
      {Write("a.txt", "abc"), {}},
      {Write("b.jsonl", "{\"t\": \"de\"}\n"), {"t"}, TextFormat::kLines}};
  const auto first = TokeniseOnce(sources, *tokenizer_, folder_ + "/tokens");
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(std::vector<int32_t>(first->tokens().begin(), first->tokens().end()),
            std::vector<int32_t>({'a', 'b', 'c', 'd', 'e'}));
  EXPECT_EQ(std::vector<int64_t>(first->document_ends().begin(), first->document_ends().end()),
            std::vector<int64_t>({3, 5}));
  const auto again = TokeniseOnce(sources, *tokenizer_, folder_ + "/tokens");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->digest(), first->digest());
  Write("a.txt", "abd");
  const auto changed = TokeniseOnce(sources, *tokenizer_, folder_ + "/tokens");
  ASSERT_TRUE(changed.ok());
  EXPECT_NE(changed->digest(), first->digest());
}

TEST_F(TokenFileTest, ATruncatedFileIsMadeAgain) {
  const std::vector<TextSource> sources = {{Write("a.txt", "abc"), {}}};
  const auto first = TokeniseOnce(sources, *tokenizer_, folder_ + "/tokens");
  ASSERT_TRUE(first.ok());
  const std::string path = folder_ + "/tokens/" + first->digest().substr(0, 16) + ".tokens";
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  EXPECT_EQ(TokenFile::Open(path).status().code(), absl::StatusCode::kInvalidArgument);
  const auto again = TokeniseOnce(sources, *tokenizer_, folder_ + "/tokens");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->tokens().size(), 3);
}

}  // namespace
}  // namespace sieve
