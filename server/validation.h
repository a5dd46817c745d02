#ifndef SIEVE_SERVER_VALIDATION_H_
#define SIEVE_SERVER_VALIDATION_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "model/chat/chat_format.h"
#include "model/tokenizer/tokenizer.h"
#include "server/generation.h"
#include "server/limits.h"
#include "sieve/v1/generation.pb.h"

namespace sieve {

// Turns requests from outside into what the engine takes, or says what is wrong with them: every
// error names the field, what was given and what is expected. Immutable and thread-safe.
class RequestValidator {
 public:
  // `tokenizer` and `chat_format` are borrowed. `chat_format` is null where chat is refused. Token
  // ids must be below `vocabulary_size`, the model's number of logits.
  RequestValidator(const Limits& limits, std::string model_name, int64_t vocabulary_size,
                   const Tokenizer* tokenizer, const ChatFormat* chat_format);

  // INVALID_ARGUMENT; NOT_FOUND for another model's name; FAILED_PRECONDITION for chat where it is
  // refused. `call_deadline` is the transport's. What the request leaves open is filled in:
  // defaults, a random seed and id.
  absl::StatusOr<GenerationRequest> Generate(const v1::GenerateRequest& request, absl::Time arrival,
                                             absl::Time call_deadline) const;

  // The token ids of the text or chat, however many.
  absl::StatusOr<std::vector<int32_t>> Tokenize(const v1::TokenizeRequest& request) const;

  // The text as UTF-8, at most limits.max_request_bytes before replacement of ill-formed bytes.
  absl::StatusOr<std::string> Detokenize(const v1::DetokenizeRequest& request) const;

 private:
  absl::Status CheckTokenIds(absl::string_view field, absl::Span<const int32_t> ids) const;
  int64_t LeastTokens(const std::string& text) const;
  absl::StatusOr<std::vector<int32_t>> Prompt(const v1::GenerateRequest& request) const;
  absl::StatusOr<std::vector<int32_t>> EncodeText(const v1::TextPrompt& prompt) const;
  absl::StatusOr<std::vector<int32_t>> EncodeChat(const v1::Chat& chat) const;
  absl::Status ReadSampling(const v1::SamplingParams& in, SamplingParams* out) const;
  absl::Status ReadStopConditions(const v1::StopParams& in, GenerationRequest* out) const;
  absl::Status ReadTokenCounts(const v1::StopParams& in, GenerationRequest* out) const;

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

#endif  // SIEVE_SERVER_VALIDATION_H_
