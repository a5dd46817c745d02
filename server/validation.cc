#include "server/validation.h"

#include <algorithm>
#include <limits>
#include <random>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/tokenizer/utf8_stream.h"
#include "server/field_checks.h"

namespace sieve {
namespace {

constexpr int32_t kMaxInt32 = std::numeric_limits<int32_t>::max();
constexpr size_t kMaxRequestIdBytes = 128;
// The range of google.protobuf.Duration: 10000 years.
constexpr int64_t kMaxDurationSeconds = 315576000000;

uint64_t RandomBits() {
  std::random_device device;  // reads the system's generator; 32 bits a call
  return static_cast<uint64_t>(device()) << 32 | device();
}

absl::StatusOr<std::string> ReadRequestId(const v1::GenerateRequest& request) {
  if (!request.has_request_id()) return absl::StrFormat("req-%016x", RandomBits());
  const std::string& id = request.request_id();
  const bool printable =
      std::all_of(id.begin(), id.end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (id.empty() || id.size() > kMaxRequestIdBytes || !printable) {
    return InvalidField("request_id", absl::StrCat(Quoted(id), " (", id.size(), " bytes)"),
                        "1 to 128 printable ASCII characters");
  }
  return id;
}

absl::StatusOr<absl::Duration> ReadTimeout(const v1::GenerateRequest& request) {
  if (!request.has_timeout()) return absl::InfiniteDuration();
  const int64_t seconds = request.timeout().seconds();
  const int32_t nanos = request.timeout().nanos();
  const bool in_range = seconds >= 0 && seconds <= kMaxDurationSeconds && nanos >= 0 &&
                        nanos < 1'000'000'000 && (seconds > 0 || nanos > 0);
  if (!in_range) {
    return InvalidField("timeout", absl::StrCat(seconds, " seconds and ", nanos, " nanos"),
                        "a positive duration of at most 315576000000 seconds");
  }
  return absl::Seconds(seconds) + absl::Nanoseconds(nanos);
}

// INVALID_ARGUMENT when a prompt of `tokens` ("12", "at least 12") leaves no room to generate.
absl::Status PromptTooLong(absl::string_view tokens, int64_t context) {
  return absl::InvalidArgumentError(
      absl::StrCat("the prompt has ", tokens, " tokens; expected at most ", context - 1,
                   ", as the context holds ", context, " tokens, prompt and output together"));
}

absl::StatusOr<ChatRole> ReadRole(absl::string_view field, v1::ChatMessage::Role role) {
  switch (role) {
    case v1::ChatMessage::ROLE_SYSTEM:
      return ChatRole::kSystem;
    case v1::ChatMessage::ROLE_USER:
      return ChatRole::kUser;
    case v1::ChatMessage::ROLE_ASSISTANT:
      return ChatRole::kAssistant;
    default:
      return InvalidField(field, absl::StrCat(static_cast<int>(role)),
                          "ROLE_SYSTEM, ROLE_USER or ROLE_ASSISTANT");
  }
}

}  // namespace

RequestValidator::RequestValidator(const Limits& limits, std::string model_name,
                                   int64_t vocabulary_size, const Tokenizer* tokenizer,
                                   const ChatFormat* chat_format)
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

absl::StatusOr<GenerationRequest> RequestValidator::Generate(const v1::GenerateRequest& request,
                                                             absl::Time arrival,
                                                             absl::Time call_deadline) const {
  if (request.has_model() && request.model() != model_name_) {
    return absl::NotFoundError(absl::StrCat("model is ", Quoted(request.model()),
                                            "; this server serves ", Quoted(model_name_)));
  }
  GenerationRequest out;
  absl::StatusOr<std::string> id = ReadRequestId(request);
  if (!id.ok()) return id.status();
  out.id = *std::move(id);

  const absl::StatusOr<absl::Duration> timeout = ReadTimeout(request);
  if (!timeout.ok()) return timeout.status();
  out.arrival = arrival;
  out.deadline = std::min(call_deadline, arrival + *timeout);

  if (request.has_num_samples()) out.num_samples = request.num_samples();
  if (request.has_logprobs()) out.logprobs = request.logprobs();
  out.priority = request.priority();
  for (const absl::Status& status :
       {CheckInt("num_samples", out.num_samples, 1, limits_.max_samples),
        CheckInt("logprobs", out.logprobs.value_or(0), 0, limits_.max_logprobs),
        CheckInt("priority", out.priority, -100, 100),
        ReadSampling(request.sampling(), &out.sampling),
        ReadStopConditions(request.stop(), &out)}) {
    if (!status.ok()) return status;
  }

  absl::StatusOr<std::vector<int32_t>> prompt = Prompt(request);
  if (!prompt.ok()) return prompt.status();
  out.prompt = *std::move(prompt);
  if (absl::Status status = ReadTokenCounts(request.stop(), &out); !status.ok()) return status;
  return out;
}

absl::StatusOr<std::vector<int32_t>> RequestValidator::Tokenize(
    const v1::TokenizeRequest& request) const {
  switch (request.input_case()) {
    case v1::TokenizeRequest::kText:
      return EncodeText(request.text());
    case v1::TokenizeRequest::kChat:
      return EncodeChat(request.chat());
    default:
      return absl::InvalidArgumentError("the input is absent; expected one of text and chat");
  }
}

absl::StatusOr<std::string> RequestValidator::Detokenize(
    const v1::DetokenizeRequest& request) const {
  const auto& ids = request.token_ids();
  if (absl::Status status = CheckTokenIds("token_ids", ids); !status.ok()) return status;
  // A request of few bytes can name long tokens many times over.
  int64_t bytes = 0;
  for (const int32_t id : ids) bytes += static_cast<int64_t>(tokenizer_.TokenBytes(id).size());
  if (bytes > limits_.max_request_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("token_ids stand for ", bytes,
                                                   " bytes of text; expected at most ",
                                                   limits_.max_request_bytes));
  }
  Utf8Stream utf8;
  std::string text = utf8.Append(DecodeBytes(tokenizer_, ids, request.include_special_tokens()));
  return text + utf8.Finish();
}

absl::Status RequestValidator::CheckTokenIds(absl::string_view field,
                                             absl::Span<const int32_t> ids) const {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocabulary_size_) {
      return CheckInt(Indexed(field, i), ids[i], 0, vocabulary_size_ - 1);
    }
  }
  return absl::OkStatus();
}

// A lower bound on the tokens of a text: no token is longer than the longest one.
int64_t RequestValidator::LeastTokens(const std::string& text) const {
  const int64_t bytes = std::count_if(text.begin(), text.end(), [this](char byte) {
    return has_token_[static_cast<uint8_t>(byte)];
  });
  return bytes / longest_token_bytes_;
}

absl::StatusOr<std::vector<int32_t>> RequestValidator::Prompt(
    const v1::GenerateRequest& request) const {
  const int64_t context = limits_.max_context_tokens;
  absl::StatusOr<std::vector<int32_t>> prompt;
  switch (request.prompt_case()) {
    case v1::GenerateRequest::kText: {
      // Tokenizing megabytes only to refuse them would be a waste.
      const int64_t least_tokens = LeastTokens(request.text().text());
      if (least_tokens >= context) {
        return PromptTooLong(absl::StrCat("at least ", least_tokens), context);
      }
      prompt = EncodeText(request.text());
      break;
    }
    case v1::GenerateRequest::kTokenIds: {
      const auto& ids = request.token_ids().ids();
      if (ids.size() >= context) return PromptTooLong(absl::StrCat(ids.size()), context);
      prompt = std::vector<int32_t>(ids.begin(), ids.end());
      break;
    }
    case v1::GenerateRequest::kChat: {
      // The header of a message is at least one token.
      const int64_t messages = request.chat().messages_size();
      if (messages >= context) return PromptTooLong(absl::StrCat("at least ", messages), context);
      prompt = EncodeChat(request.chat());
      break;
    }
    default:
      return absl::InvalidArgumentError(
          "the prompt is absent; expected one of text, token_ids and chat");
  }
  if (!prompt.ok()) return prompt.status();
  if (prompt->empty())
    return absl::InvalidArgumentError("the prompt has no tokens; expected at least one");
  if (static_cast<int64_t>(prompt->size()) >= context) {
    return PromptTooLong(absl::StrCat(prompt->size()), context);
  }
  // Also of what the tokenizer made: a checkpoint's tokenizer may know tokens that its model does
  // not.
  const absl::string_view field = request.has_token_ids() ? "token_ids.ids" : "prompt token";
  if (absl::Status status = CheckTokenIds(field, *prompt); !status.ok()) return status;
  return prompt;
}

absl::StatusOr<std::vector<int32_t>> RequestValidator::EncodeText(
    const v1::TextPrompt& prompt) const {
  if (prompt.text().empty()) {
    return absl::InvalidArgumentError("text.text is empty; expected at least one character");
  }
  if (absl::Status status = CheckUtf8("text.text", prompt.text()); !status.ok()) return status;
  EncodeOptions options;
  if (prompt.has_add_special_tokens()) options.add_special_tokens = prompt.add_special_tokens();
  options.parse_special_tokens = prompt.parse_special_tokens();
  return tokenizer_.Encode(prompt.text(), options);
}

absl::StatusOr<std::vector<int32_t>> RequestValidator::EncodeChat(const v1::Chat& chat) const {
  if (chat_format_ == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("the chat format of model ", Quoted(model_name_),
                     " is not one that this server knows; send a plain prompt (text) instead"));
  }
  if (chat.messages().empty()) {
    return absl::InvalidArgumentError("chat.messages is empty; expected at least one message");
  }
  std::vector<ChatTurn> turns;
  for (int i = 0; i < chat.messages_size(); ++i) {
    const std::string field = Indexed("chat.messages", i);
    const v1::ChatMessage& message = chat.messages(i);
    const absl::StatusOr<ChatRole> role = ReadRole(field + ".role", message.role());
    if (!role.ok()) return role.status();
    if (absl::Status status = CheckUtf8(field + ".content", message.content()); !status.ok()) {
      return status;
    }
    turns.push_back({*role, message.content()});
  }
  if (turns.back().role == ChatRole::kAssistant) {
    return InvalidField(Indexed("chat.messages", chat.messages_size() - 1) + ".role",
                        "ROLE_ASSISTANT", "ROLE_USER or ROLE_SYSTEM in the last message");
  }
  return chat_format_->Encode(tokenizer_, turns);
}

absl::Status RequestValidator::ReadSampling(const v1::SamplingParams& in,
                                            SamplingParams* out) const {
  if (in.has_temperature()) out->temperature = in.temperature();
  if (in.has_top_k()) out->top_k = in.top_k();
  if (in.has_top_p()) out->top_p = in.top_p();
  if (in.has_min_p()) out->min_p = in.min_p();
  if (in.has_repetition_penalty()) out->repetition_penalty = in.repetition_penalty();
  if (in.has_presence_penalty()) out->presence_penalty = in.presence_penalty();
  if (in.has_frequency_penalty()) out->frequency_penalty = in.frequency_penalty();
  out->seed = in.has_seed() ? in.seed() : RandomBits();
  for (const absl::Status& status :
       {CheckFloat("sampling.temperature", out->temperature, 0, 100),
        CheckInt("sampling.top_k", out->top_k, 0, vocabulary_size_),
        CheckFloat("sampling.top_p", out->top_p, 0, 1, /*low_is_open=*/true),
        CheckFloat("sampling.min_p", out->min_p, 0, 1),
        CheckFloat("sampling.repetition_penalty", out->repetition_penalty, 0, 10,
                   /*low_is_open=*/true),
        CheckFloat("sampling.presence_penalty", out->presence_penalty, -10, 10),
        CheckFloat("sampling.frequency_penalty", out->frequency_penalty, -10, 10),
        CheckCount("sampling.logit_bias", in.logit_bias_size(), limits_.max_logit_bias_entries)}) {
    if (!status.ok()) return status;
  }

  absl::flat_hash_set<int32_t> seen;
  for (int i = 0; i < in.logit_bias_size(); ++i) {
    const std::string field = Indexed("sampling.logit_bias", i);
    const v1::LogitBias& entry = in.logit_bias(i);
    for (const absl::Status& status :
         {CheckInt(field + ".token_id", entry.token_id(), 0, vocabulary_size_ - 1),
          CheckFloat(field + ".bias", entry.bias(), -1000, 1000)}) {
      if (!status.ok()) return status;
    }
    if (!seen.insert(entry.token_id()).second) {
      return InvalidField(field + ".token_id", absl::StrCat(entry.token_id(), " once more"),
                          "one entry for each token id");
    }
    out->logit_bias.emplace_back(entry.token_id(), entry.bias());
  }
  return absl::OkStatus();
}

absl::Status RequestValidator::ReadStopConditions(const v1::StopParams& in,
                                                  GenerationRequest* out) const {
  for (const absl::Status& status :
       {CheckCount("stop.stop_texts", in.stop_texts_size(), limits_.max_stop_texts),
        CheckCount("stop.stop_token_ids", in.stop_token_ids_size(), limits_.max_stop_token_ids)}) {
    if (!status.ok()) return status;
  }
  for (int i = 0; i < in.stop_texts_size(); ++i) {
    const std::string field = Indexed("stop.stop_texts", i);
    const std::string& text = in.stop_texts(i);
    if (text.empty() || static_cast<int64_t>(text.size()) > limits_.max_stop_text_bytes) {
      return InvalidField(field, absl::StrCat(text.size(), " bytes long"),
                          absl::StrCat("1 to ", limits_.max_stop_text_bytes, " bytes"));
    }
    if (absl::Status status = CheckUtf8(field, text); !status.ok()) return status;
    out->stop_texts.push_back(text);
  }
  const auto& ids = in.stop_token_ids();
  if (absl::Status status = CheckTokenIds("stop.stop_token_ids", ids); !status.ok()) return status;
  out->stop_token_ids.assign(ids.begin(), ids.end());
  out->ignore_eos = in.ignore_eos();
  return absl::OkStatus();
}

// REQUIRES: out->prompt fits the context.
absl::Status RequestValidator::ReadTokenCounts(const v1::StopParams& in,
                                               GenerationRequest* out) const {
  const int32_t room = limits_.max_context_tokens - static_cast<int32_t>(out->prompt.size());
  const int32_t wanted =
      in.has_max_tokens() ? in.max_tokens() : std::min(limits_.default_max_tokens, room);
  if (absl::Status status = CheckInt("stop.max_tokens", wanted, 1, kMaxInt32); !status.ok()) {
    return status;
  }
  if (in.min_tokens() < 0 || in.min_tokens() > wanted) {
    return InvalidField("stop.min_tokens", absl::StrCat(in.min_tokens()),
                        absl::StrCat("an integer from 0 to max_tokens, which is ", wanted));
  }
  out->max_tokens = std::min(wanted, room);
  out->max_tokens_is_context =
      in.has_max_tokens() ? wanted > room : room < limits_.default_max_tokens;
  out->min_tokens = std::min(in.min_tokens(), out->max_tokens);
  return absl::OkStatus();
}

}  // namespace sieve
