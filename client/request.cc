#include "client/request.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/utf8.h"

namespace sieve {
namespace {

absl::Status CheckField(absl::string_view field, absl::string_view text) {
  if (IsUtf8(text)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, " is not valid UTF-8"));
}

void FillSampling(const RequestOptions& options, v1::SamplingParams* sampling) {
  if (options.temperature) sampling->set_temperature(*options.temperature);
  if (options.top_k) sampling->set_top_k(*options.top_k);
  if (options.top_p) sampling->set_top_p(*options.top_p);
  if (options.min_p) sampling->set_min_p(*options.min_p);
  if (options.repetition_penalty) sampling->set_repetition_penalty(*options.repetition_penalty);
  if (options.presence_penalty) sampling->set_presence_penalty(*options.presence_penalty);
  if (options.frequency_penalty) sampling->set_frequency_penalty(*options.frequency_penalty);
  if (options.seed) sampling->set_seed(*options.seed);
  for (const LogitBiasFlag& flag : options.logit_bias) {
    v1::LogitBias* bias = sampling->add_logit_bias();
    bias->set_token_id(flag.token_id);
    bias->set_bias(flag.bias);
  }
}

void FillStop(const RequestOptions& options, v1::StopParams* stop) {
  if (options.max_tokens) stop->set_max_tokens(*options.max_tokens);
  if (options.min_tokens) stop->set_min_tokens(*options.min_tokens);
  for (const std::string& text : options.stop_texts) stop->add_stop_texts(text);
  for (int32_t id : options.stop_token_ids) stop->add_stop_token_ids(id);
  if (options.ignore_eos) stop->set_ignore_eos(true);
}

}  // namespace

void AddRequestFlags(FlagSet* flags, RequestOptions* options) {
  flags->Add("max_tokens", "most tokens to generate", &options->max_tokens);
  flags->Add("min_tokens", "fewest tokens before the answer may end", &options->min_tokens);
  flags->Add("temperature", "0 is greedy; the server's default is 1", &options->temperature);
  flags->Add("top_k", "draw from the k most probable tokens", &options->top_k);
  flags->Add("top_p", "draw from the fewest tokens whose probabilities add up to p",
             &options->top_p);
  flags->Add("min_p", "draw from tokens at least p times as probable as the best", &options->min_p);
  flags->Add("repetition_penalty", "above 1: less repetition", &options->repetition_penalty);
  flags->Add("presence_penalty", "taken off the logit of tokens generated before",
             &options->presence_penalty);
  flags->Add("frequency_penalty", "the same, for each time they were", &options->frequency_penalty);
  flags->Add("logit_bias", "TOKEN_ID:BIAS; may be repeated", &options->logit_bias);
  flags->Add("seed", "the same seed gives the same tokens", &options->seed);
  flags->Add("stop", "text that ends the answer; may be repeated", &options->stop_texts);
  flags->Add("stop_id", "token ids that end the answer, between commas", &options->stop_token_ids);
  flags->Add("ignore_eos", "go on after the end of the sequence", &options->ignore_eos);
  flags->Add("n", "samples of the same prompt", &options->num_samples);
  flags->Add("logprobs", "log-probabilities with this many alternatives", &options->logprobs);
  flags->Add("priority", "higher goes first", &options->priority);
  flags->Add("model", "refuse to be answered by another model", &options->model);
  flags->Add("adapter", "answer with this adapter (of those that `info` lists)", &options->adapter);
  flags->Add("request_id", "for the server's log", &options->request_id);
}

v1::GenerateRequest MakeRequest(const RequestOptions& options) {
  v1::GenerateRequest request;
  FillSampling(options, request.mutable_sampling());
  FillStop(options, request.mutable_stop());
  if (options.num_samples) request.set_num_samples(*options.num_samples);
  if (options.logprobs) request.set_logprobs(*options.logprobs);
  if (options.priority) request.set_priority(*options.priority);
  if (options.model) request.set_model(*options.model);
  if (options.adapter) request.set_adapter(*options.adapter);
  if (options.request_id) request.set_request_id(*options.request_id);
  return request;
}

void AddMessage(v1::ChatMessage::Role role, std::string content, v1::Chat* chat) {
  v1::ChatMessage* message = chat->add_messages();
  message->set_role(role);
  message->set_content(std::move(content));
}

absl::Status CheckUtf8(const v1::Chat& chat) {
  for (const v1::ChatMessage& message : chat.messages()) {
    if (absl::Status status = CheckField("a chat message", message.content()); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

absl::Status CheckUtf8(const v1::GenerateRequest& request) {
  for (const std::string& text : request.stop().stop_texts()) {
    if (absl::Status status = CheckField("a stop text", text); !status.ok()) return status;
  }
  if (absl::Status status = CheckField("the model's name", request.model()); !status.ok()) {
    return status;
  }
  if (absl::Status status = CheckField("the adapter's name", request.adapter()); !status.ok()) {
    return status;
  }
  if (absl::Status status = CheckField("the request id", request.request_id()); !status.ok()) {
    return status;
  }
  return CheckUtf8(request.chat());
}

}  // namespace sieve
