#ifndef SIEVE_TESTS_SERVER_TEST_TOKENIZER_H_
#define SIEVE_TESTS_SERVER_TEST_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "model/chat/chat_format.h"
#include "model/tokenizer/tokenizer.h"

namespace sieve {

// Tokens 0 .. 255 are the bytes; a prompt starts with kTestBos.
inline constexpr int32_t kTestBos = 256;  // <bos>
inline constexpr int32_t kTestEos = 257;  // <eos>
inline constexpr int64_t kTestVocabulary = 258;
inline constexpr int64_t kTestLongestToken = 5;  // bytes

std::unique_ptr<Tokenizer> MakeTestTokenizer();

// "u:hello|a:" for a user's hello, byte by byte.
class TestChatFormat : public ChatFormat {
 public:
  std::string_view name() const override { return "test"; }
  std::vector<int32_t> Encode(const Tokenizer& tokenizer,
                              absl::Span<const ChatTurn> turns) const override;
  ChatTranscript EncodeTranscript(const Tokenizer& tokenizer,
                                  absl::Span<const ChatTurn> turns) const override;
};

}  // namespace sieve

#endif  // SIEVE_TESTS_SERVER_TEST_TOKENIZER_H_
