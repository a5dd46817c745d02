#ifndef SIEVE_SERVER_PROMPT_READER_H_
#define SIEVE_SERVER_PROMPT_READER_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/chat/chat_format.h"
#include "model/tokenizer/tokenizer.h"
#include "server/field_checks.h"
#include "server/limits.h"
#include "sieve/v1/generation.pb.h"

namespace sieve {

// Reads prompts: first what can be checked at once, then the token ids. Immutable and thread-safe.
class PromptReader {
 public:
  // `tokenizer` and `chat_format` are borrowed. `chat_format` is null where chat is refused. Token
  // ids must be below `vocabulary_size`, the model's number of logits.
  PromptReader(const Limits& limits, std::string model_name, int64_t vocabulary_size,
               const Tokenizer* tokenizer, const ChatFormat* chat_format);

  int64_t vocabulary_size() const { return vocabulary_size_; }

  // Everything but what takes a tokenizer.
  void CheckPrompt(const v1::GenerateRequest& request, FieldChecks* checks) const;
  void CheckInput(const v1::TokenizeRequest& request, FieldChecks* checks) const;
  void CheckTokenIds(absl::string_view field, absl::Span<const int32_t> ids,
                     FieldChecks* checks) const;

  // The token ids. FAILED_PRECONDITION for chat where it is refused; INVALID_ARGUMENT for a prompt
  // that is too long or has none. REQUIRES: CheckPrompt found nothing.
  absl::StatusOr<std::vector<int32_t>> ReadPrompt(const v1::GenerateRequest& request) const;
  // However many. REQUIRES: CheckInput found nothing.
  absl::StatusOr<std::vector<int32_t>> ReadInput(const v1::TokenizeRequest& request) const;

 private:
  void CheckText(const v1::TextPrompt& prompt, FieldChecks* checks) const;
  void CheckChat(const v1::Chat& chat, FieldChecks* checks) const;
  bool CheckLength(absl::string_view field, int64_t tokens, bool is_exact,
                   FieldChecks* checks) const;
  int64_t LeastTokens(const std::string& text) const;
  std::vector<int32_t> EncodeText(const v1::TextPrompt& prompt) const;
  absl::StatusOr<std::vector<int32_t>> EncodeChat(const v1::Chat& chat) const;

  const Limits limits_;
  const std::string model_name_;
  const int64_t vocabulary_size_;
  const Tokenizer& tokenizer_;
  const ChatFormat* const chat_format_;
  int64_t longest_token_bytes_ = 1;
  // By byte: whether there is a token of this byte alone. Tokenizers leave out those without.
  std::array<bool, 256> has_token_{};
};

}  // namespace sieve

#endif  // SIEVE_SERVER_PROMPT_READER_H_
