#include "server/prompt_reader.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"

namespace sieve {
namespace {

std::optional<ChatRole> RoleOf(v1::ChatMessage::Role role) {
  switch (role) {
    case v1::ChatMessage::ROLE_SYSTEM:
      return ChatRole::kSystem;
    case v1::ChatMessage::ROLE_USER:
      return ChatRole::kUser;
    case v1::ChatMessage::ROLE_ASSISTANT:
      return ChatRole::kAssistant;
    default:
      return std::nullopt;
  }
}

// Which field the prompt is in.
absl::string_view PromptField(const v1::GenerateRequest& request) {
  switch (request.prompt_case()) {
    case v1::GenerateRequest::kText:
      return "text.text";
    case v1::GenerateRequest::kTokenIds:
      return "token_ids.ids";
    default:
      return "chat.messages";
  }
}

}  // namespace

PromptReader::PromptReader(const Limits& limits, std::string model_name, int64_t vocabulary_size,
                           const Tokenizer* tokenizer, const ChatFormat* chat_format)
    : limits_(limits),
      model_name_(std::move(model_name)),
      vocabulary_size_(std::min(vocabulary_size, tokenizer->vocabulary_size())),
      tokenizer_(*tokenizer),
      chat_format_(chat_format) {
  for (int32_t id = 0; id < tokenizer_.vocabulary_size(); ++id) {
    const std::string_view bytes = tokenizer_.TokenBytes(id);
    longest_token_bytes_ = std::max<int64_t>(longest_token_bytes_, bytes.size());
    if (bytes.size() == 1) has_token_[static_cast<uint8_t>(bytes[0])] = true;
  }
}

void PromptReader::CheckPrompt(const v1::GenerateRequest& request, FieldChecks* checks) const {
  switch (request.prompt_case()) {
    case v1::GenerateRequest::kText:
      // Tokenizing megabytes only to refuse them would be a waste.
      if (CheckLength("text.text", LeastTokens(request.text().text()), false, checks)) {
        CheckText(request.text(), checks);
      }
      return;
    case v1::GenerateRequest::kTokenIds: {
      const auto& ids = request.token_ids().ids();
      if (ids.empty()) {
        checks->FailAs("token_ids.ids", "the prompt has no tokens; expected at least one");
      } else if (CheckLength("token_ids.ids", ids.size(), true, checks)) {
        CheckTokenIds("token_ids.ids", ids, checks);
      }
      return;
    }
    case v1::GenerateRequest::kChat:
      // The header of a message is at least one token.
      if (CheckLength("chat.messages", request.chat().messages_size(), false, checks)) {
        CheckChat(request.chat(), checks);
      }
      return;
    default:
      checks->FailAs("prompt", "the prompt is absent; expected one of text, token_ids and chat");
  }
}

void PromptReader::CheckInput(const v1::TokenizeRequest& request, FieldChecks* checks) const {
  switch (request.input_case()) {
    case v1::TokenizeRequest::kText:
      return CheckText(request.text(), checks);
    case v1::TokenizeRequest::kChat:
      return CheckChat(request.chat(), checks);
    default:
      checks->FailAs("input", "the input is absent; expected one of text and chat");
  }
}

void PromptReader::CheckTokenIds(absl::string_view field, absl::Span<const int32_t> ids,
                                 FieldChecks* checks) const {
  for (size_t i = 0; i < ids.size() && !checks->full(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocabulary_size_) {
      checks->Int(Indexed(field, i), ids[i], 0, vocabulary_size_ - 1);
    }
  }
}

void PromptReader::CheckText(const v1::TextPrompt& prompt, FieldChecks* checks) const {
  if (prompt.text().empty()) {
    checks->FailAs("text.text", "text.text is empty; expected at least one character");
  } else {
    checks->Utf8("text.text", prompt.text());
  }
}

void PromptReader::CheckChat(const v1::Chat& chat, FieldChecks* checks) const {
  if (chat.messages().empty()) {
    checks->FailAs("chat.messages", "chat.messages is empty; expected at least one message");
    return;
  }
  for (int i = 0; i < chat.messages_size() && !checks->full(); ++i) {
    const std::string field = Indexed("chat.messages", i);
    const v1::ChatMessage& message = chat.messages(i);
    if (!RoleOf(message.role()).has_value()) {
      checks->Fail(field + ".role", absl::StrCat(static_cast<int>(message.role())),
                   "ROLE_SYSTEM, ROLE_USER or ROLE_ASSISTANT");
    }
    checks->Utf8(field + ".content", message.content());
  }
  const int last = chat.messages_size() - 1;
  if (chat.messages(last).role() == v1::ChatMessage::ROLE_ASSISTANT) {
    checks->Fail(Indexed("chat.messages", last) + ".role", "ROLE_ASSISTANT",
                 "ROLE_USER or ROLE_SYSTEM in the last message");
  }
}

// Whether a prompt of `tokens`, or at least so many, leaves room to generate.
bool PromptReader::CheckLength(absl::string_view field, int64_t tokens, bool is_exact,
                               FieldChecks* checks) const {
  const int64_t context = limits_.max_context_tokens;
  const bool by_context =
      limits_.max_prompt_tokens <= 0 || limits_.max_prompt_tokens >= context - 1;
  const int64_t most = by_context ? context - 1 : limits_.max_prompt_tokens;
  if (tokens <= most) return true;
  checks->FailAs(
      field,
      absl::StrCat("the prompt has ", is_exact ? "" : "at least ", tokens,
                   " tokens; expected at most ", most,
                   by_context ? absl::StrCat(", as the context holds ", context,
                                             " tokens, prompt and output together")
                              : std::string(", which is the server's limit for one prompt")));
  return false;
}

// A lower bound on the tokens of a text: no token is longer than the longest one.
int64_t PromptReader::LeastTokens(const std::string& text) const {
  const int64_t bytes = std::count_if(text.begin(), text.end(), [this](char byte) {
    return has_token_[static_cast<uint8_t>(byte)];
  });
  return bytes / longest_token_bytes_;
}

absl::StatusOr<std::vector<int32_t>> PromptReader::ReadPrompt(
    const v1::GenerateRequest& request) const {
  if (request.has_token_ids()) {
    const auto& ids = request.token_ids().ids();
    return std::vector<int32_t>(ids.begin(), ids.end());
  }
  absl::StatusOr<std::vector<int32_t>> prompt =
      request.has_text() ? EncodeText(request.text()) : EncodeChat(request.chat());
  if (!prompt.ok()) return prompt;
  FieldChecks checks;
  const absl::string_view field = PromptField(request);
  if (prompt->empty()) {
    checks.FailAs(field, "the prompt has no tokens; expected at least one");
  } else if (CheckLength(field, prompt->size(), true, &checks)) {
    // A checkpoint's tokenizer may know tokens that its model does not.
    CheckTokenIds("prompt token", *prompt, &checks);
  }
  if (!checks.ok()) return checks.status();
  return prompt;
}

absl::StatusOr<std::vector<int32_t>> PromptReader::ReadInput(
    const v1::TokenizeRequest& request) const {
  if (request.has_chat()) return EncodeChat(request.chat());
  return EncodeText(request.text());
}

std::vector<int32_t> PromptReader::EncodeText(const v1::TextPrompt& prompt) const {
  EncodeOptions options;
  if (prompt.has_add_special_tokens()) options.add_special_tokens = prompt.add_special_tokens();
  options.parse_special_tokens = prompt.parse_special_tokens();
  return tokenizer_.Encode(prompt.text(), options);
}

absl::StatusOr<std::vector<int32_t>> PromptReader::EncodeChat(const v1::Chat& chat) const {
  if (chat_format_ == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("the chat format of model ", Quoted(model_name_),
                     " is not one that this server knows; send a plain prompt (text) instead"));
  }
  std::vector<ChatTurn> turns;
  for (const v1::ChatMessage& message : chat.messages()) {
    turns.push_back({*RoleOf(message.role()), message.content()});
  }
  return chat_format_->Encode(tokenizer_, turns);
}

}  // namespace sieve
