#ifndef SIEVE_CLIENT_REQUEST_H_
#define SIEVE_CLIENT_REQUEST_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/flags.h"
#include "sieve/v1/generation.pb.h"

namespace sieve {

// A request but for its prompt. What is absent is not sent, so that the server's defaults hold.
struct RequestOptions {
  std::optional<float> temperature, top_p, min_p;
  std::optional<float> repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<int32_t> top_k;
  std::optional<uint64_t> seed;
  std::vector<LogitBiasFlag> logit_bias;
  std::optional<int32_t> max_tokens, min_tokens;
  std::vector<std::string> stop_texts;
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
  std::optional<int32_t> num_samples, logprobs, priority;
  std::optional<std::string> model, adapter, request_id;
};

// The flags that fill `options`.
void AddRequestFlags(FlagSet* flags, RequestOptions* options);

v1::GenerateRequest MakeRequest(const RequestOptions& options);

void AddMessage(v1::ChatMessage::Role role, std::string content, v1::Chat* chat);

// INVALID_ARGUMENT when a field of type `string` is not UTF-8: such a message cannot be sent. (A
// plain prompt is `bytes`, and the server's to judge.)
absl::Status CheckUtf8(const v1::GenerateRequest& request);
absl::Status CheckUtf8(const v1::Chat& chat);

}  // namespace sieve

#endif  // SIEVE_CLIENT_REQUEST_H_
