// Requests of every kind. The first byte says which message the others are on the wire; they come
// in several slices, as from a transport.

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "google/protobuf/stubs/logging.h"
#include "grpcpp/support/slice.h"
#include "model/tokenizer/utf8_stream.h"
#include "server/message_buffer.h"
#include "server/refusal.h"
#include "server/status_mapping.h"
#include "server/validation.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/request_kind.h"
#include "tests/server/test_tokenizer.h"

namespace {

using namespace sieve;  // NOLINT: LLVMFuzzerTestOneInput must be outside

constexpr size_t kLongestMessage = 2000;
constexpr size_t kMetadataBytes = 8000;  // clients take 8 KiB

// Small, so that inputs of a few kilobytes reach them.
Limits FuzzLimits() {
  Limits limits;
  limits.max_context_tokens = 256;
  limits.default_max_tokens = 64;
  limits.max_samples = 4;
  limits.max_stop_texts = 4;
  limits.max_stop_text_bytes = 32;
  limits.max_stop_token_ids = 8;
  limits.max_logit_bias_entries = 16;
  limits.max_logprobs = 5;
  limits.max_request_bytes = 4096;
  return limits;
}

const Limits& TheLimits() {
  static const Limits limits = FuzzLimits();
  return limits;
}

const RequestValidator& Validator(bool chat) {
  static const Tokenizer* const tokenizer = MakeTestTokenizer().release();
  static const TestChatFormat format;
  static const RequestValidator with(TheLimits(), "tiny", kTestVocabulary, tokenizer, &format);
  static const RequestValidator without(TheLimits(), "tiny", kTestVocabulary, tokenizer, nullptr);
  return chat ? with : without;
}

void CheckRefused(const absl::Status& status) {
  const std::string message(status.message());
  FUZZ_CHECK(absl::IsInvalidArgument(status) || absl::IsNotFound(status) ||
                 absl::IsFailedPrecondition(status),
             status.ToString());
  // Never the whole input again.
  FUZZ_CHECK(!message.empty() && message.size() < kLongestMessage, message.size());
  FUZZ_CHECK(IsValidUtf8(message), message);
  // As gRPC sends it, details in base64.
  const grpc::Status sent = ToGrpcStatus(status);
  const size_t bytes = sent.error_message().size() + sent.error_details().size() * 4 / 3;
  FUZZ_CHECK(bytes < kMetadataBytes, bytes);
}

// Of a well-formed message that breaks a rule: the fields are named.
void CheckViolations(const absl::Status& status) {
  CheckRefused(status);
  if (!absl::IsInvalidArgument(status)) return;
  const std::vector<FieldViolation> violations = ViolationsOf(status);
  FUZZ_CHECK(!violations.empty(), status.ToString());
  for (const FieldViolation& violation : violations) {
    FUZZ_CHECK(!violation.field.empty() && IsValidUtf8(violation.field));
    FUZZ_CHECK(!violation.description.empty() && IsValidUtf8(violation.description));
  }
}

// Whether low <= value <= high; false for NaN.
bool Within(double value, double low, double high) { return value >= low && value <= high; }

void CheckIds(const auto& ids) {
  for (const int32_t id : ids) FUZZ_CHECK(id >= 0 && id < kTestVocabulary, id);
}

void CheckSampling(const SamplingParams& sampling) {
  FUZZ_CHECK(Within(sampling.temperature, 0, 100));
  FUZZ_CHECK(Within(sampling.top_k, 0, kTestVocabulary));
  FUZZ_CHECK(Within(sampling.top_p, 0, 1) && sampling.top_p > 0);
  FUZZ_CHECK(Within(sampling.min_p, 0, 1));
  FUZZ_CHECK(Within(sampling.repetition_penalty, 0, 10) && sampling.repetition_penalty > 0);
  FUZZ_CHECK(Within(sampling.presence_penalty, -10, 10));
  FUZZ_CHECK(Within(sampling.frequency_penalty, -10, 10));
  FUZZ_CHECK(sampling.logit_bias.size() <= static_cast<size_t>(TheLimits().max_logit_bias_entries));
  std::set<int32_t> ids;
  for (const auto& [id, bias] : sampling.logit_bias) {
    FUZZ_CHECK(ids.insert(id).second, id);
    FUZZ_CHECK(Within(bias, -1000, 1000));
  }
  CheckIds(ids);
}

void CheckGeneration(const GenerationRequest& request, absl::Time arrival) {
  const Limits& limits = TheLimits();
  FUZZ_CHECK(!request.id.empty() && request.id.size() <= 128 && IsValidUtf8(request.id));
  FUZZ_CHECK(!request.prompt.empty());
  CheckIds(request.prompt);
  CheckSampling(request.sampling);
  FUZZ_CHECK(Within(request.num_samples, 1, limits.max_samples));
  FUZZ_CHECK(request.max_tokens >= 1);
  FUZZ_CHECK(static_cast<int64_t>(request.prompt.size()) + request.max_tokens <=
             limits.max_context_tokens);
  FUZZ_CHECK(Within(request.min_tokens, 0, request.max_tokens));
  FUZZ_CHECK(request.stop_texts.size() <= static_cast<size_t>(limits.max_stop_texts));
  for (const std::string& text : request.stop_texts) {
    FUZZ_CHECK(Within(text.size(), 1, limits.max_stop_text_bytes) && IsValidUtf8(text), text);
  }
  FUZZ_CHECK(request.stop_token_ids.size() <= static_cast<size_t>(limits.max_stop_token_ids));
  CheckIds(request.stop_token_ids);
  FUZZ_CHECK(Within(request.logprobs.value_or(0), 0, limits.max_logprobs));
  FUZZ_CHECK(Within(request.priority, -100, 100));
  FUZZ_CHECK(request.arrival == arrival && request.deadline > arrival);
}

template <typename Message>
absl::StatusOr<Message> Parse(std::string_view bytes) {
  std::vector<grpc::Slice> slices;
  for (size_t length = 1; !bytes.empty(); length *= 3) {
    const std::string_view piece = bytes.substr(0, length);
    slices.emplace_back(piece.data(), piece.size());
    bytes.remove_prefix(piece.size());
  }
  if (slices.empty()) slices.emplace_back();
  return ParseMessage<Message>(grpc::ByteBuffer(slices.data(), slices.size()));
}

void RunGenerate(std::string_view bytes, bool chat) {
  const auto request = Parse<v1::GenerateRequest>(bytes);
  if (!request.ok()) return CheckRefused(request.status());
  const absl::Time arrival = absl::FromUnixSeconds(1'700'000'000);
  const auto valid = Validator(chat).Generate(*request, arrival, absl::InfiniteFuture());
  if (!valid.ok()) return CheckViolations(valid.status());
  CheckGeneration(*valid, arrival);
  FUZZ_CHECK(chat || !request->has_chat());
}

void RunTokenize(std::string_view bytes) {
  const auto request = Parse<v1::TokenizeRequest>(bytes);
  if (!request.ok()) return CheckRefused(request.status());
  const auto ids = Validator(/*chat=*/true).Tokenize(*request);
  if (!ids.ok()) return CheckViolations(ids.status());
  CheckIds(*ids);
}

void RunDetokenize(std::string_view bytes) {
  const auto request = Parse<v1::DetokenizeRequest>(bytes);
  if (!request.ok()) return CheckRefused(request.status());
  const auto text = Validator(/*chat=*/true).Detokenize(*request);
  if (!text.ok()) return CheckViolations(text.status());
  FUZZ_CHECK(IsValidUtf8(*text), *text);
  // A byte that is not UTF-8 becomes three.
  FUZZ_CHECK(text->size() <= 3 * static_cast<size_t>(TheLimits().max_request_bytes));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Parsing would print a line for each string that is not UTF-8.
  static const google::protobuf::LogSilencer silencer;
  InputReader reader(InputText(data, size));
  const RequestKind kind = RequestKindOf(reader.Number<uint8_t>());
  const std::string_view bytes = reader.Rest();
  switch (kind) {
    case RequestKind::kGenerate:
    case RequestKind::kGenerateWithoutChat:
      RunGenerate(bytes, kind == RequestKind::kGenerate);
      break;
    case RequestKind::kTokenize:
      RunTokenize(bytes);
      break;
    case RequestKind::kDetokenize:
      RunDetokenize(bytes);
      break;
  }
  return 0;
}
