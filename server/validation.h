#ifndef SIEVE_SERVER_VALIDATION_H_
#define SIEVE_SERVER_VALIDATION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/chat/chat_format.h"
#include "model/tokenizer/tokenizer.h"
#include "server/adapters/served_adapter.h"
#include "server/field_checks.h"
#include "server/generation.h"
#include "server/limits.h"
#include "server/prompt_reader.h"
#include "sieve/v1/generation.pb.h"

namespace sieve {

// Turns requests from outside into what the engine takes, or says what is wrong with them: a
// BadRequest (refusal.h) names every field that is wrong, what was given and what is expected.
// Cheap checks come first, the tokenizer last. Immutable and thread-safe.
class RequestValidator {
 public:
  // The adapter that a request names, for it to hold.
  using FindAdapter =
      std::function<absl::StatusOr<std::shared_ptr<const ServedAdapter>>(absl::string_view name)>;

  // As of PromptReader. Without `find_adapter` there are no adapters.
  RequestValidator(const Limits& limits, std::string model_name, int64_t vocabulary_size,
                   const Tokenizer* tokenizer, const ChatFormat* chat_format,
                   FindAdapter find_adapter = nullptr);

  // INVALID_ARGUMENT; NOT_FOUND for another model's name, or for an adapter that is not loaded;
  // FAILED_PRECONDITION for chat where it is refused. `call_deadline` is the transport's. What the
  // request leaves open is filled in: defaults, a random seed and id; not who the caller is.
  absl::StatusOr<GenerationRequest> Generate(const v1::GenerateRequest& request, absl::Time arrival,
                                             absl::Time call_deadline) const;

  // The token ids of the text or chat, however many.
  absl::StatusOr<std::vector<int32_t>> Tokenize(const v1::TokenizeRequest& request) const;

  // The text as UTF-8, at most limits.max_request_bytes before replacement of ill-formed bytes.
  absl::StatusOr<std::string> Detokenize(const v1::DetokenizeRequest& request) const;

 private:
  absl::Status ReadAdapter(const v1::GenerateRequest& request, GenerationRequest* out) const;
  void ReadSampling(const v1::SamplingParams& in, SamplingParams* out, FieldChecks* checks) const;
  void ReadLogitBias(const v1::SamplingParams& in, SamplingParams* out, FieldChecks* checks) const;
  void ReadStopConditions(const v1::StopParams& in, GenerationRequest* out,
                          FieldChecks* checks) const;
  void CheckTokenCounts(const v1::StopParams& in, FieldChecks* checks) const;
  void FitTokenCounts(const v1::StopParams& in, GenerationRequest* out) const;

  const Limits limits_;
  const std::string model_name_;
  const Tokenizer& tokenizer_;
  const PromptReader prompts_;
  const FindAdapter find_adapter_;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_VALIDATION_H_
