#ifndef SIEVE_MODEL_CHAT_CHAT_FORMAT_H_
#define SIEVE_MODEL_CHAT_CHAT_FORMAT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/tokenizer/tokenizer.h"

namespace sieve {

enum class ChatRole { kSystem, kUser, kAssistant };

struct ChatTurn {
  ChatRole role = ChatRole::kUser;
  std::string content;
};

// A conversation's tokens, and where in them the assistant's replies are, each with the token that
// ends it: [begin, end).
struct ChatTranscript {
  struct Reply {
    int64_t begin = 0;
    int64_t end = 0;
  };
  std::vector<int32_t> ids;
  std::vector<Reply> replies;
};

// Turns a conversation into the prompt of the assistant's next turn. Message contents never yield
// special tokens.
class ChatFormat {
 public:
  virtual ~ChatFormat() = default;
  virtual std::string_view name() const = 0;  // "chatml" or "llama3"
  // Token ids ending with the header of the assistant's turn.
  virtual std::vector<int32_t> Encode(const Tokenizer& tokenizer,
                                      absl::Span<const ChatTurn> turns) const = 0;
  // The conversation alone, for training. A reply is encoded apart from its header, as it is when
  // it is generated.
  virtual ChatTranscript EncodeTranscript(const Tokenizer& tokenizer,
                                          absl::Span<const ChatTurn> turns) const = 0;
};

// Recognises the format by the checkpoint's own template (see chat_template.h), or by its special
// tokens when it has no template. FAILED_PRECONDITION, with a message that says to send a plain
// prompt, when it is none of the known ones: templates are not executed.
absl::StatusOr<std::unique_ptr<ChatFormat>> ChatFormatFor(const Tokenizer& tokenizer);

}  // namespace sieve

#endif  // SIEVE_MODEL_CHAT_CHAT_FORMAT_H_
