#include "model/tokenizer/gguf_vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace sieve {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using Kind = Vocabulary::Kind;
using Metadata = std::map<std::string, GgufValue, std::less<>>;
using Strings = std::vector<std::string_view>;
using Integers = std::vector<int64_t>;

Metadata Good() {
  return {
      {"general.architecture", std::string_view("llama")},
      {"tokenizer.ggml.model", std::string_view("gpt2")},
      {"tokenizer.ggml.pre", std::string_view("smollm")},
      {"tokenizer.ggml.tokens", Strings{"<|endoftext|>", "Ġ", "a", "Ġa", "a b", "", "Ġaa b"}},
      {"tokenizer.ggml.token_type", Integers{3, 1, 1, 1, 4, 5, 2}},
      {"tokenizer.ggml.merges", Strings{"Ġ a"}},
      {"tokenizer.ggml.bos_token_id", int64_t{0}},
      {"tokenizer.ggml.eos_token_id", int64_t{6}},
      {"tokenizer.chat_template", std::string_view("{{ x }}")},
  };
}

TEST(GgufVocabularyTest, ReadsEverything) {
  const auto vocabulary = VocabularyFromGguf(Good());
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  ASSERT_EQ(vocabulary->tokens.size(), 7u);
  EXPECT_EQ(vocabulary->tokens[0].kind, Kind::kSpecial);
  EXPECT_EQ(vocabulary->tokens[0].bytes, "<|endoftext|>");
  EXPECT_EQ(vocabulary->tokens[3].kind, Kind::kNormal);
  EXPECT_EQ(vocabulary->tokens[3].bytes, " a");
  EXPECT_EQ(vocabulary->tokens[4].kind, Kind::kUserDefined);
  EXPECT_EQ(vocabulary->tokens[4].bytes, "a b");
  EXPECT_EQ(vocabulary->tokens[5].kind, Kind::kUnused);
  EXPECT_EQ(vocabulary->tokens[6].kind, Kind::kSpecial);
  EXPECT_THAT(vocabulary->merges, ElementsAre(Pair(1, 2)));
  EXPECT_EQ(vocabulary->pre_tokenizer, PreTokenizer::kSmolLm);
  EXPECT_FALSE(vocabulary->ignore_merges);
  EXPECT_EQ(vocabulary->bos, 0);
  EXPECT_FALSE(vocabulary->add_bos);
  // The file's own first, then those known by name.
  EXPECT_THAT(vocabulary->eos, ElementsAre(6, 0));
  EXPECT_EQ(vocabulary->chat_template, "{{ x }}");
}

TEST(GgufVocabularyTest, ThePreTokenizersNameImpliesWhatTheFileLeavesOut) {
  Metadata metadata = Good();
  metadata["tokenizer.ggml.pre"] = std::string_view("llama-bpe");
  auto vocabulary = VocabularyFromGguf(metadata);
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_EQ(vocabulary->pre_tokenizer, PreTokenizer::kLlama3);
  EXPECT_TRUE(vocabulary->ignore_merges);
  EXPECT_TRUE(vocabulary->add_bos);
  metadata["tokenizer.ggml.add_bos_token"] = false;
  vocabulary = VocabularyFromGguf(metadata);
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  EXPECT_FALSE(vocabulary->add_bos);
}

TEST(GgufVocabularyTest, RefusesWhatIsMissing) {
  for (const char* key : {"tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.tokens",
                          "tokenizer.ggml.token_type", "tokenizer.ggml.merges"}) {
    Metadata metadata = Good();
    metadata.erase(key);
    const absl::Status status = VocabularyFromGguf(metadata).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status));
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(key), HasSubstr("missing")));
  }
}

TEST(GgufVocabularyTest, RefusesWhatIsMalformedByKey) {
  const struct {
    const char* key;
    GgufValue value;
    const char* reason;
  } kCases[] = {
      {"tokenizer.ggml.model", std::string_view("llama"), "\"llama\" is not supported"},
      {"tokenizer.ggml.model", int64_t{1}, "is not a string"},
      {"tokenizer.ggml.pre", std::string_view("qwen2"), "\"qwen2\" is not supported"},
      {"tokenizer.ggml.tokens", std::string_view("a"), "is not an array of strings"},
      {"tokenizer.ggml.tokens", Integers{1}, "is not an array of strings"},
      {"tokenizer.ggml.tokens", Strings{"x", "Ġ", " ", "Ġa", "a b", "", "<u>"},
       "token 2: \" \" is not in the byte-level alphabet"},
      {"tokenizer.ggml.token_type", Integers{3, 1}, "has 2 entries for 7 tokens"},
      {"tokenizer.ggml.token_type", Strings{}, "is not an array of integers"},
      {"tokenizer.ggml.merges", Integers{}, "is not an array of strings"},
      {"tokenizer.ggml.merges", Strings{"Ġ a", "Ġ b"}, "entry 1: \"b\" is no ordinary token"},
      {"tokenizer.ggml.merges", Strings{"Ġa"}, "entry 0"},
      {"tokenizer.ggml.merges", Strings{"Ġ a a"}, "entry 0"},
      {"tokenizer.ggml.merges", Strings{""}, "entry 0"},
      {"tokenizer.ggml.merges", Strings{"a <|endoftext|>"}, "no ordinary token"},
      {"tokenizer.ggml.bos_token_id", int64_t{7}, "token 7 of 7"},
      {"tokenizer.ggml.bos_token_id", int64_t{-1}, "token -1 of 7"},
      {"tokenizer.ggml.bos_token_id", uint64_t{1} << 63, "is not an integer"},
      {"tokenizer.ggml.eos_token_id", int64_t{1} << 40, "of 7"},
      {"tokenizer.ggml.eot_token_id", 2.0, "is not an integer"},
      {"tokenizer.ggml.add_bos_token", int64_t{1}, "is not true or false"},
      {"tokenizer.chat_template", int64_t{1}, "is not a string"},
  };
  for (const auto& test : kCases) {
    Metadata metadata = Good();
    metadata[test.key] = test.value;
    const absl::Status status = VocabularyFromGguf(metadata).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << test.key << " " << test.reason;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(test.key), HasSubstr(test.reason)));
  }
}

TEST(GgufVocabularyTest, RefusesUnknownTokenTypes) {
  for (const int64_t type : {0, 6, 7, -1}) {
    Metadata metadata = Good();
    metadata["tokenizer.ggml.token_type"] = Integers{3, 1, 1, type, 4, 5, 2};
    const absl::Status status = VocabularyFromGguf(metadata).status();
    EXPECT_THAT(std::string(status.message()), HasSubstr("token 3: has type"));
  }
}

TEST(GgufVocabularyTest, AddingBosTakesABos) {
  Metadata metadata = Good();
  metadata.erase("tokenizer.ggml.bos_token_id");
  metadata["tokenizer.ggml.add_bos_token"] = true;
  EXPECT_THAT(std::string(VocabularyFromGguf(metadata).status().message()),
              HasSubstr("tokenizer.ggml.add_bos_token"));
}

}  // namespace
}  // namespace sieve
