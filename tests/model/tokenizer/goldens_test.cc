// Tokens of a few texts as Hugging Face `tokenizers` makes them; make_goldens.py wrote them.

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "model/tokenizer/tokenizer.h"
#include "tests/model/tokenizer/vocabulary_file.h"

namespace sieve {
namespace {

TEST(GoldensTest, TokensAreThoseOfHuggingFace) {
  const char* cache = std::getenv("SIEVE_CACHE");
  if (cache == nullptr) GTEST_SKIP() << "SIEVE_CACHE is not set";
  std::map<std::string, std::unique_ptr<Tokenizer>> tokenizers;
  std::ifstream file("tests/model/tokenizer/goldens.jsonl");
  int lines = 0;
  for (std::string line; std::getline(file, line); ++lines) {
    const auto golden = nlohmann::json::parse(line);
    const std::string name = golden["vocabulary"];
    std::unique_ptr<Tokenizer>& tokenizer = tokenizers[name];
    if (tokenizer == nullptr) {
      auto vocabulary = ReadVocabularyFile(std::string(cache) + "/models/" + name);
      ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
      auto made = Tokenizer::Create(*std::move(vocabulary));
      ASSERT_TRUE(made.ok()) << made.status();
      tokenizer = *std::move(made);
    }
    const std::string text = absl::HexStringToBytes(golden["text"].get<std::string>());
    EXPECT_EQ(tokenizer->Encode(text, {.add_special_tokens = false}),
              golden["ids"].get<std::vector<int32_t>>())
        << name << ": \"" << absl::CHexEscape(text) << '"';
  }
  EXPECT_EQ(lines, 136);
}

}  // namespace
}  // namespace sieve
