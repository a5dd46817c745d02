#include "trainer/retrieval_documents.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "model/tokenizer/tokenizer.h"

namespace sieve {
namespace {

// A token a byte, and bos first.
std::unique_ptr<Tokenizer> ByteTokenizer() {
  Vocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back(
        {std::string(1, static_cast<char>(byte)), Vocabulary::Kind::kNormal});
  }
  vocabulary.tokens.push_back({"<bos>", Vocabulary::Kind::kSpecial});
  vocabulary.bos = 256;
  vocabulary.add_bos = true;
  return Tokenizer::Create(std::move(vocabulary)).value();
}

std::string Prose(int sentences) {
  const char* words[] = {"river", "candle", "over", "garden", "walked", "slowly", "winter"};
  std::string text;
  for (int i = 0; i < sentences; ++i) {
    text += "And";
    for (int j = 0; j < 9; ++j) text += std::string(" ") + words[(i * i + j * 3 + i * j) % 7];
    text += i % 5 == 4 ? ".\n\n" : ". ";
  }
  return text;
}

std::vector<EncodedDocument> Make(const std::string& text, const RetrievalOptions& options) {
  const auto tokenizer = ByteTokenizer();
  std::vector<EncodedDocument> documents;
  const absl::Status status =
      MakeRetrievalDocuments(text, options, *tokenizer, [&](const EncodedDocument& document) {
        documents.push_back(document);
        return absl::OkStatus();
      });
  EXPECT_TRUE(status.ok()) << status;
  return documents;
}

std::string Text(const EncodedDocument& document, int64_t begin, int64_t end) {
  std::string text;
  for (int64_t i = begin; i < end; ++i) text += static_cast<char>(document.tokens[i]);
  return text;
}

TEST(RetrievalDocuments, EachAnswerIsInTheTextBeforeItsQuestion) {
  const RetrievalOptions options = {.documents = 40, .tokens = 4000, .facts = {1, 3, 8}, .seed = 3};
  const auto documents = Make(Prose(400), options);
  ASSERT_EQ(documents.size(), 40);
  std::set<size_t> counts;
  for (const EncodedDocument& document : documents) {
    ASSERT_EQ(document.tokens.size(), 4000);
    EXPECT_EQ(document.tokens[0], 256);
    counts.insert(document.answers.size());
    // The end of the last answer is the document's.
    EXPECT_EQ(document.answers.back().end, 4000);
    std::set<std::string> numbers;
    const std::string first = Text(document, 0, document.answers.front().begin);
    const std::string body = first.substr(0, first.rfind("\n\n"));
    for (const TokenRange& answer : document.answers) {
      const std::string number = Text(document, answer.begin, answer.end);
      ASSERT_EQ(number.size(), 6) << number;
      EXPECT_TRUE(numbers.insert(number).second);
      EXPECT_TRUE(absl::StrContains(body, number.substr(1))) << number;
      // The line of the question names the key, as the line of the fact does.
      const std::string before = Text(document, 0, answer.begin);
      const std::string question = before.substr(before.rfind('\n') + 1);
      const size_t dash = question.rfind('-');
      if (dash == std::string::npos) {
        EXPECT_EQ(document.answers.size(), 1) << question;
        continue;
      }
      const size_t key =
          question.rfind(' ', dash) == std::string::npos ? 0 : question.rfind(' ', dash) + 1;
      const std::string name = question.substr(key, question.find_first_of(" :", dash) - key);
      const size_t at = body.find(name);
      ASSERT_NE(at, std::string::npos) << question;
      EXPECT_TRUE(absl::StrContains(body.substr(at, name.size() + 20), number.substr(1)))
          << body.substr(at, 60);
    }
  }
  EXPECT_EQ(counts, std::set<size_t>({1, 3, 8}));
}

TEST(RetrievalDocuments, FactsLieAtAllDepths) {
  const auto documents =
      Make(Prose(400), {.documents = 60, .tokens = 4000, .facts = {4}, .seed = 9});
  int early = 0, late = 0;
  for (const EncodedDocument& document : documents) {
    const std::string text = Text(document, 0, 4000);
    for (const TokenRange& answer : document.answers) {
      const size_t at = text.find(text.substr(answer.begin + 1, 5));
      early += at < 1000;
      late += at > 2000 && at < 3400;
    }
  }
  EXPECT_GT(early, 30);
  EXPECT_GT(late, 30);
}

TEST(RetrievalDocuments, TheSeedDecides) {
  const std::string text = Prose(400);
  const RetrievalOptions options = {.documents = 2, .tokens = 2000, .facts = {4}, .seed = 3};
  RetrievalOptions other = options;
  other.seed = 4;
  EXPECT_EQ(Make(text, options)[1].tokens, Make(text, options)[1].tokens);
  EXPECT_NE(Make(text, options)[1].tokens, Make(text, other)[1].tokens);
  EXPECT_NE(Make(text, options)[1].tokens, Make(text, options)[0].tokens);
}

TEST(RetrievalDocuments, AShortTextIsRepeated) {
  for (const EncodedDocument& document :
       Make(Prose(3), {.documents = 5, .tokens = 3000, .facts = {2}})) {
    EXPECT_EQ(document.tokens.size(), 3000);
  }
}

TEST(RetrievalDocuments, WhatCannotBeMadeIsRefused) {
  const auto tokenizer = ByteTokenizer();
  const auto fails = [&](const std::string& text, const RetrievalOptions& options) {
    return MakeRetrievalDocuments(text, options, *tokenizer,
                                  [](const EncodedDocument&) { return absl::OkStatus(); });
  };
  EXPECT_TRUE(absl::IsInvalidArgument(fails("", {.documents = 1, .tokens = 2000})));
  EXPECT_TRUE(absl::IsInvalidArgument(fails("1 2 3\n", {.documents = 1, .tokens = 2000})));
  const absl::Status room = fails(Prose(9), {.documents = 1, .tokens = 500, .facts = {8}});
  EXPECT_TRUE(absl::IsInvalidArgument(room));
  EXPECT_TRUE(absl::StrContains(room.message(), "500")) << room;
  EXPECT_TRUE(absl::IsCancelled(
      MakeRetrievalDocuments(Prose(9), {.documents = 1, .tokens = 2000, .facts = {1}}, *tokenizer,
                             [](const EncodedDocument&) { return absl::CancelledError(); })));
}

}  // namespace
}  // namespace sieve
