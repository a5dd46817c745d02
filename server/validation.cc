#include "server/validation.h"

#include <algorithm>
#include <limits>
#include <random>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/tokenizer/utf8_stream.h"

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

std::string ReadRequestId(const v1::GenerateRequest& request, FieldChecks* checks) {
  if (!request.has_request_id()) return absl::StrFormat("req-%016x", RandomBits());
  const std::string& id = request.request_id();
  const bool printable =
      std::all_of(id.begin(), id.end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (id.empty() || id.size() > kMaxRequestIdBytes || !printable) {
    checks->Fail("request_id", absl::StrCat(Quoted(id), " (", id.size(), " bytes)"),
                 "1 to 128 printable ASCII characters");
  }
  return id;
}

absl::Duration ReadTimeout(const v1::GenerateRequest& request, FieldChecks* checks) {
  if (!request.has_timeout()) return absl::InfiniteDuration();
  const int64_t seconds = request.timeout().seconds();
  const int32_t nanos = request.timeout().nanos();
  const bool in_range = seconds >= 0 && seconds <= kMaxDurationSeconds && nanos >= 0 &&
                        nanos < 1'000'000'000 && (seconds > 0 || nanos > 0);
  if (!in_range) {
    checks->Fail("timeout", absl::StrCat(seconds, " seconds and ", nanos, " nanos"),
                 "a positive duration of at most 315576000000 seconds");
    return absl::InfiniteDuration();
  }
  return absl::Seconds(seconds) + absl::Nanoseconds(nanos);
}

}  // namespace

RequestValidator::RequestValidator(const Limits& limits, std::string model_name,
                                   int64_t vocabulary_size, const Tokenizer* tokenizer,
                                   const ChatFormat* chat_format, FindAdapter find_adapter)
    : limits_(limits),
      model_name_(model_name),
      tokenizer_(*tokenizer),
      prompts_(limits, std::move(model_name), vocabulary_size, tokenizer, chat_format),
      find_adapter_(std::move(find_adapter)) {}

absl::StatusOr<GenerationRequest> RequestValidator::Generate(const v1::GenerateRequest& request,
                                                             absl::Time arrival,
                                                             absl::Time call_deadline) const {
  if (request.has_model() && request.model() != model_name_) {
    return absl::NotFoundError(absl::StrCat("model is ", Quoted(request.model()),
                                            "; this server serves ", Quoted(model_name_)));
  }
  FieldChecks checks;
  GenerationRequest out;
  out.id = ReadRequestId(request, &checks);
  out.arrival = arrival;
  out.deadline = std::min(call_deadline, arrival + ReadTimeout(request, &checks));
  if (request.has_num_samples()) out.num_samples = request.num_samples();
  if (request.has_logprobs()) out.logprobs = request.logprobs();
  out.priority = request.priority();
  checks.Int("num_samples", out.num_samples, 1, limits_.max_samples);
  checks.Int("logprobs", out.logprobs.value_or(0), 0, limits_.max_logprobs);
  checks.Int("priority", out.priority, -100, 100);
  ReadSampling(request.sampling(), &out.sampling, &checks);
  ReadStopConditions(request.stop(), &out, &checks);
  CheckTokenCounts(request.stop(), &checks);
  prompts_.CheckPrompt(request, &checks);
  if (!checks.ok()) return checks.status();
  if (absl::Status status = ReadAdapter(request, &out); !status.ok()) return status;

  absl::StatusOr<std::vector<int32_t>> prompt = prompts_.ReadPrompt(request);
  if (!prompt.ok()) return prompt.status();
  out.prompt = *std::move(prompt);
  FitTokenCounts(request.stop(), &out);
  return out;
}

absl::Status RequestValidator::ReadAdapter(const v1::GenerateRequest& request,
                                           GenerationRequest* out) const {
  if (request.adapter().empty()) return absl::OkStatus();
  if (!find_adapter_) {
    return absl::NotFoundError(
        absl::StrCat("adapter is ", Quoted(request.adapter()), "; this server serves none"));
  }
  absl::StatusOr<std::shared_ptr<const ServedAdapter>> found = find_adapter_(request.adapter());
  if (found.ok()) out->adapter = *std::move(found);
  return found.status();
}

absl::StatusOr<std::vector<int32_t>> RequestValidator::Tokenize(
    const v1::TokenizeRequest& request) const {
  FieldChecks checks;
  prompts_.CheckInput(request, &checks);
  if (!checks.ok()) return checks.status();
  return prompts_.ReadInput(request);
}

absl::StatusOr<std::string> RequestValidator::Detokenize(
    const v1::DetokenizeRequest& request) const {
  FieldChecks checks;
  const auto& ids = request.token_ids();
  prompts_.CheckTokenIds("token_ids", ids, &checks);
  if (!checks.ok()) return checks.status();
  // A request of few bytes can name long tokens many times over.
  int64_t bytes = 0;
  for (const int32_t id : ids) bytes += static_cast<int64_t>(tokenizer_.TokenBytes(id).size());
  if (bytes > limits_.max_request_bytes) {
    checks.FailAs("token_ids",
                  absl::StrCat("token_ids stand for ", bytes, " bytes of text; expected at most ",
                               limits_.max_request_bytes));
    return checks.status();
  }
  Utf8Stream utf8;
  std::string text = utf8.Append(DecodeBytes(tokenizer_, ids, request.include_special_tokens()));
  return text + utf8.Finish();
}

void RequestValidator::ReadSampling(const v1::SamplingParams& in, SamplingParams* out,
                                    FieldChecks* checks) const {
  if (in.has_temperature()) out->temperature = in.temperature();
  if (in.has_top_k()) out->top_k = in.top_k();
  if (in.has_top_p()) out->top_p = in.top_p();
  if (in.has_min_p()) out->min_p = in.min_p();
  if (in.has_repetition_penalty()) out->repetition_penalty = in.repetition_penalty();
  if (in.has_presence_penalty()) out->presence_penalty = in.presence_penalty();
  if (in.has_frequency_penalty()) out->frequency_penalty = in.frequency_penalty();
  out->seed = in.has_seed() ? in.seed() : RandomBits();
  checks->Float("sampling.temperature", out->temperature, 0, 100);
  checks->Int("sampling.top_k", out->top_k, 0, prompts_.vocabulary_size());
  checks->Float("sampling.top_p", out->top_p, 0, 1, /*low_is_open=*/true);
  checks->Float("sampling.min_p", out->min_p, 0, 1);
  checks->Float("sampling.repetition_penalty", out->repetition_penalty, 0, 10,
                /*low_is_open=*/true);
  checks->Float("sampling.presence_penalty", out->presence_penalty, -10, 10);
  checks->Float("sampling.frequency_penalty", out->frequency_penalty, -10, 10);
  ReadLogitBias(in, out, checks);
}

void RequestValidator::ReadLogitBias(const v1::SamplingParams& in, SamplingParams* out,
                                     FieldChecks* checks) const {
  if (!checks->Count("sampling.logit_bias", in.logit_bias_size(), limits_.max_logit_bias_entries)) {
    return;
  }
  absl::flat_hash_set<int32_t> seen;
  for (int i = 0; i < in.logit_bias_size() && !checks->full(); ++i) {
    const std::string field = Indexed("sampling.logit_bias", i);
    const v1::LogitBias& entry = in.logit_bias(i);
    checks->Int(field + ".token_id", entry.token_id(), 0, prompts_.vocabulary_size() - 1);
    checks->Float(field + ".bias", entry.bias(), -1000, 1000);
    if (!seen.insert(entry.token_id()).second) {
      checks->Fail(field + ".token_id", absl::StrCat(entry.token_id(), " once more"),
                   "one entry for each token id");
    }
    out->logit_bias.emplace_back(entry.token_id(), entry.bias());
  }
}

void RequestValidator::ReadStopConditions(const v1::StopParams& in, GenerationRequest* out,
                                          FieldChecks* checks) const {
  if (checks->Count("stop.stop_texts", in.stop_texts_size(), limits_.max_stop_texts)) {
    for (int i = 0; i < in.stop_texts_size(); ++i) {
      const std::string field = Indexed("stop.stop_texts", i);
      const std::string& text = in.stop_texts(i);
      if (text.empty() || static_cast<int64_t>(text.size()) > limits_.max_stop_text_bytes) {
        checks->Fail(field, absl::StrCat(text.size(), " bytes long"),
                     absl::StrCat("1 to ", limits_.max_stop_text_bytes, " bytes"));
      } else {
        checks->Utf8(field, text);
      }
      out->stop_texts.push_back(text);
    }
  }
  const auto& ids = in.stop_token_ids();
  if (checks->Count("stop.stop_token_ids", ids.size(), limits_.max_stop_token_ids)) {
    prompts_.CheckTokenIds("stop.stop_token_ids", ids, checks);
    out->stop_token_ids.assign(ids.begin(), ids.end());
  }
  out->ignore_eos = in.ignore_eos();
}

void RequestValidator::CheckTokenCounts(const v1::StopParams& in, FieldChecks* checks) const {
  const int32_t most = in.has_max_tokens() ? in.max_tokens() : limits_.default_max_tokens;
  const bool most_is_good = checks->Int("stop.max_tokens", most, 1, kMaxInt32);
  if (in.min_tokens() < 0 || (most_is_good && in.min_tokens() > most)) {
    checks->Fail("stop.min_tokens", absl::StrCat(in.min_tokens()),
                 most_is_good ? absl::StrCat("an integer from 0 to max_tokens, which is ", most)
                              : std::string("an integer from 0 to max_tokens"));
  }
}

// REQUIRES: out->prompt fits the context, and the counts were checked.
void RequestValidator::FitTokenCounts(const v1::StopParams& in, GenerationRequest* out) const {
  const int32_t room = limits_.max_context_tokens - static_cast<int32_t>(out->prompt.size());
  const int32_t wanted = in.has_max_tokens() ? in.max_tokens() : limits_.default_max_tokens;
  out->max_tokens = std::min(wanted, room);
  out->max_tokens_is_context = wanted > room;
  out->min_tokens = std::min(in.min_tokens(), out->max_tokens);
}

}  // namespace sieve
