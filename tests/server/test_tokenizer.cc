#include "tests/server/test_tokenizer.h"

#include <utility>

#include "model/tokenizer/vocabulary.h"

namespace sieve {

std::unique_ptr<Tokenizer> MakeTestTokenizer() {
  Vocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back(
        {std::string(1, static_cast<char>(byte)), Vocabulary::Kind::kNormal});
  }
  vocabulary.tokens.push_back({"<bos>", Vocabulary::Kind::kSpecial});
  vocabulary.tokens.push_back({"<eos>", Vocabulary::Kind::kSpecial});
  vocabulary.bos = kTestBos;
  vocabulary.add_bos = true;
  vocabulary.eos = {kTestEos};
  return Tokenizer::Create(std::move(vocabulary)).value();
}

namespace {

std::string TurnsText(absl::Span<const ChatTurn> turns) {
  std::string text;
  for (const ChatTurn& turn : turns) {
    text += turn.role == ChatRole::kSystem ? "s:" : turn.role == ChatRole::kUser ? "u:" : "a:";
    text += turn.content + "|";
  }
  return text;
}

}  // namespace

std::vector<int32_t> TestChatFormat::Encode(const Tokenizer& tokenizer,
                                            absl::Span<const ChatTurn> turns) const {
  return tokenizer.Encode(TurnsText(turns) + "a:", {.add_special_tokens = false});
}

ChatTranscript TestChatFormat::EncodeTranscript(const Tokenizer& tokenizer,
                                                absl::Span<const ChatTurn> turns) const {
  return {tokenizer.Encode(TurnsText(turns), {.add_special_tokens = false}), {}};
}

}  // namespace sieve
