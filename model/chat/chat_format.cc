#include "model/chat/chat_format.h"

#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/chat/chat_template.h"
#include "model/chat/trim.h"

namespace sieve {
namespace {

constexpr char kAdvice[] = "send a plain prompt instead of messages";

// Gathers a prompt. Text between two special tokens is encoded in one piece, as it is in training.
class PromptBuilder {
 public:
  explicit PromptBuilder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  PromptBuilder& Text(std::string_view text) {
    text_ += text;
    return *this;
  }
  PromptBuilder& Special(int32_t id) {
    Flush();
    out_.ids.push_back(id);
    return *this;
  }
  // A reply with the token that ends it, apart from the text before it.
  PromptBuilder& Reply(std::string_view content, int32_t end) {
    Flush();
    const int64_t begin = static_cast<int64_t>(out_.ids.size());
    Text(content).Special(end);
    out_.replies.push_back({begin, static_cast<int64_t>(out_.ids.size())});
    return *this;
  }
  ChatTranscript Finish() {
    Flush();
    return std::move(out_);
  }

 private:
  void Flush() {
    const std::vector<int32_t> ids =
        tokenizer_.Encode(text_, {.add_special_tokens = false, .parse_special_tokens = false});
    out_.ids.insert(out_.ids.end(), ids.begin(), ids.end());
    text_.clear();
  }

  const Tokenizer& tokenizer_;
  std::string text_;
  ChatTranscript out_;
};

std::string_view RoleName(ChatRole role) {
  switch (role) {
    case ChatRole::kSystem:
      return "system";
    case ChatRole::kUser:
      return "user";
    case ChatRole::kAssistant:
      return "assistant";
  }
  return "user";
}

bool StartsWithSystem(absl::Span<const ChatTurn> turns) {
  return !turns.empty() && turns.front().role == ChatRole::kSystem;
}

// <|im_start|>role\ncontent<|im_end|>\n
class ChatMl : public ChatFormat {
 public:
  ChatMl(ChatTemplate options, std::optional<int32_t> bos, int32_t im_start, int32_t im_end)
      : options_(std::move(options)), bos_(bos), im_start_(im_start), im_end_(im_end) {}

  std::string_view name() const override { return "chatml"; }

  std::vector<int32_t> Encode(const Tokenizer& tokenizer,
                              absl::Span<const ChatTurn> turns) const override {
    PromptBuilder prompt(tokenizer);
    AddTurns(turns, /*replies_apart=*/false, prompt);
    return prompt.Special(im_start_).Text("assistant\n").Finish().ids;
  }

  ChatTranscript EncodeTranscript(const Tokenizer& tokenizer,
                                  absl::Span<const ChatTurn> turns) const override {
    PromptBuilder prompt(tokenizer);
    AddTurns(turns, /*replies_apart=*/true, prompt);
    return prompt.Finish();
  }

 private:
  void AddTurns(absl::Span<const ChatTurn> turns, bool replies_apart, PromptBuilder& prompt) const {
    const auto header = [&](std::string_view role) -> PromptBuilder& {
      return prompt.Special(im_start_).Text(role).Text("\n");
    };
    if (bos_.has_value()) prompt.Special(*bos_);
    if (options_.default_system.has_value() && !turns.empty() && !StartsWithSystem(turns)) {
      header("system").Text(*options_.default_system).Special(im_end_).Text("\n");
    }
    for (const ChatTurn& turn : turns) {
      header(RoleName(turn.role));
      if (replies_apart && turn.role == ChatRole::kAssistant) {
        prompt.Reply(turn.content, im_end_).Text("\n");
      } else {
        prompt.Text(turn.content).Special(im_end_).Text("\n");
      }
    }
  }

  const ChatTemplate options_;
  const std::optional<int32_t> bos_;
  const int32_t im_start_;
  const int32_t im_end_;
};

// <|start_header_id|>role<|end_header_id|>\n\ncontent<|eot_id|>
class Llama3Chat : public ChatFormat {
 public:
  struct Ids {
    std::optional<int32_t> bos;
    int32_t start_header;
    int32_t end_header;
    int32_t eot;
  };

  Llama3Chat(ChatTemplate options, Ids ids) : options_(std::move(options)), ids_(ids) {}

  std::string_view name() const override { return "llama3"; }

  std::vector<int32_t> Encode(const Tokenizer& tokenizer,
                              absl::Span<const ChatTurn> turns) const override {
    PromptBuilder prompt(tokenizer);
    AddTurns(turns, /*replies_apart=*/false, prompt);
    return Header("assistant", prompt).Finish().ids;
  }

  ChatTranscript EncodeTranscript(const Tokenizer& tokenizer,
                                  absl::Span<const ChatTurn> turns) const override {
    PromptBuilder prompt(tokenizer);
    AddTurns(turns, /*replies_apart=*/true, prompt);
    return prompt.Finish();
  }

 private:
  PromptBuilder& Header(std::string_view role, PromptBuilder& prompt) const {
    return prompt.Special(ids_.start_header).Text(role).Special(ids_.end_header).Text("\n\n");
  }

  void AddTurns(absl::Span<const ChatTurn> turns, bool replies_apart, PromptBuilder& prompt) const {
    if (ids_.bos.has_value()) prompt.Special(*ids_.bos);
    if (options_.preamble_date.has_value()) {
      Header("system", prompt).Text("Cutting Knowledge Date: December 2023\nToday Date: ");
      prompt.Text(*options_.preamble_date).Text("\n\n");
      if (StartsWithSystem(turns)) {
        prompt.Text(Content(turns.front()));
        turns.remove_prefix(1);
      }
      prompt.Special(ids_.eot);
    } else if (options_.default_system.has_value() && !StartsWithSystem(turns)) {
      Header("system", prompt).Text(*options_.default_system).Special(ids_.eot);
    }
    for (const ChatTurn& turn : turns) {
      Header(RoleName(turn.role), prompt);
      if (replies_apart && turn.role == ChatRole::kAssistant) {
        prompt.Reply(Content(turn), ids_.eot);
      } else {
        prompt.Text(Content(turn)).Special(ids_.eot);
      }
    }
  }

  std::string_view Content(const ChatTurn& turn) const {
    return options_.trim_contents ? Trim(turn.content) : turn.content;
  }

  const ChatTemplate options_;
  const Ids ids_;
};

std::optional<int32_t> FindSpecial(const Tokenizer& tokenizer, std::string_view name) {
  for (int32_t id = 0; id < tokenizer.vocabulary_size(); ++id) {
    if (tokenizer.IsSpecial(id) && tokenizer.TokenBytes(id) == name) return id;
  }
  return std::nullopt;
}

absl::StatusOr<std::unique_ptr<ChatFormat>> MakeChatMl(const Tokenizer& tokenizer,
                                                       ChatTemplate options,
                                                       std::optional<int32_t> bos) {
  const auto im_start = FindSpecial(tokenizer, "<|im_start|>");
  const auto im_end = FindSpecial(tokenizer, "<|im_end|>");
  if (!im_start.has_value() || !im_end.has_value()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the model's chat template is ChatML but it lacks its special tokens: ", kAdvice));
  }
  return std::make_unique<ChatMl>(std::move(options), bos, *im_start, *im_end);
}

absl::StatusOr<std::unique_ptr<ChatFormat>> MakeLlama3(const Tokenizer& tokenizer,
                                                       ChatTemplate options,
                                                       std::optional<int32_t> bos) {
  const auto start_header = FindSpecial(tokenizer, "<|start_header_id|>");
  const auto end_header = FindSpecial(tokenizer, "<|end_header_id|>");
  const auto eot = FindSpecial(tokenizer, "<|eot_id|>");
  if (!start_header.has_value() || !end_header.has_value() || !eot.has_value()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the model's chat template is Llama 3's but it lacks its special tokens: ", kAdvice));
  }
  return std::make_unique<Llama3Chat>(std::move(options),
                                      Llama3Chat::Ids{bos, *start_header, *end_header, *eot});
}

// What a checkpoint without a template is taken to mean by its special tokens.
absl::StatusOr<ChatTemplate> TemplateFromTokens(const Tokenizer& tokenizer) {
  ChatTemplate result;
  if (FindSpecial(tokenizer, "<|start_header_id|>").has_value()) {
    result.family = ChatTemplate::Family::kLlama3;
    result.bos_first = true;
    result.trim_contents = true;
    return result;
  }
  if (FindSpecial(tokenizer, "<|im_start|>").has_value()) {
    result.family = ChatTemplate::Family::kChatMl;
    result.bos_first = tokenizer.vocabulary().add_bos;
    return result;
  }
  return absl::FailedPreconditionError(absl::StrCat("the model has no chat template: ", kAdvice));
}

absl::StatusOr<ChatTemplate> FindTemplate(const Tokenizer& tokenizer) {
  const std::string& source = tokenizer.vocabulary().chat_template;
  if (source.empty()) return TemplateFromTokens(tokenizer);
  absl::StatusOr<ChatTemplate> result = RecogniseChatTemplate(source);
  if (result.ok()) return result;
  return absl::FailedPreconditionError(
      absl::StrCat("the model's chat template is not one of the known ones (",
                   result.status().message(), "), and templates are not executed: ", kAdvice));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChatFormat>> ChatFormatFor(const Tokenizer& tokenizer) {
  absl::StatusOr<ChatTemplate> options = FindTemplate(tokenizer);
  if (!options.ok()) return options.status();
  const std::optional<int32_t> bos =
      options->bos_first ? tokenizer.vocabulary().bos : std::optional<int32_t>();
  return options->family == ChatTemplate::Family::kChatMl
             ? MakeChatMl(tokenizer, *std::move(options), bos)
             : MakeLlama3(tokenizer, *std::move(options), bos);
}

}  // namespace sieve
