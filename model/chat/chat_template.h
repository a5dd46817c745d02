#ifndef SIEVE_MODEL_CHAT_CHAT_TEMPLATE_H_
#define SIEVE_MODEL_CHAT_CHAT_TEMPLATE_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace sieve {

// What a Jinja chat template would do, as far as the known families differ among themselves.
struct ChatTemplate {
  enum class Family { kChatMl, kLlama3 };
  Family family = Family::kChatMl;
  bool bos_first = false;      // the prompt starts with bos
  bool trim_contents = false;  // spaces around a message's content are dropped
  // The system message of a conversation that does not start with one.
  std::optional<std::string> default_system;
  // Llama 3.1 and later: every prompt starts with a system message that names the knowledge cut-off
  // and this date. Templates default to today's or to a fixed one; the fixed one is taken, so that
  // equal requests give equal prompts.
  std::optional<std::string> preamble_date;
};

// Recognises a template by the literals in it; it is not executed. FAILED_PRECONDITION with the
// reason when it is of neither family, or would treat messages in a way that ChatTemplate cannot
// say.
absl::StatusOr<ChatTemplate> RecogniseChatTemplate(std::string_view source);

}  // namespace sieve

#endif  // SIEVE_MODEL_CHAT_CHAT_TEMPLATE_H_
