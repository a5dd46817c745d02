#include "server/engine_sample.h"

#include <utility>

#include "absl/algorithm/container.h"

namespace sieve {

EngineSample::EngineSample(const GenerationRequest* request, const Tokenizer* tokenizer,
                           int32_t sample, absl::Span<const int32_t> prompt)
    : request_(request),
      tokenizer_(tokenizer),
      sample_(sample),
      text_(tokenizer, request->stop_texts) {
  if (HasPenalties(request->sampling)) history_.emplace(prompt);
  if (request->min_tokens == 0) return;
  banned_ = request->stop_token_ids;
  if (request->ignore_eos) return;
  const std::vector<int32_t>& eos = tokenizer->vocabulary().eos;
  banned_.insert(banned_.end(), eos.begin(), eos.end());
}

Draw EngineSample::NextDraw() const {
  Draw draw;
  draw.params = &request_->sampling;
  draw.history = history_ ? &*history_ : nullptr;
  if (submitted_ < request_->min_tokens) draw.banned = banned_;
  draw.sample = sample_;
  draw.position = submitted_;
  draw.logprobs = request_->logprobs;
  return draw;
}

bool EngineSample::MayGoOn() const { return !finished_ && submitted_ < request_->max_tokens; }

EngineSample::Output EngineSample::Take(DrawnToken drawn, absl::Time now) {
  ++generated_;
  if (generated_ == 1) first_token_ = now;
  last_token_ = now;
  if (history_) history_->Append(drawn.token);

  Output output;
  output.delta.sample = sample_;
  output.delta.token_ids = {drawn.token};
  if (request_->logprobs) output.delta.logprobs = {std::move(drawn.logprobs)};
  Judge(drawn.token, &output);
  finished_ = output.reason.has_value();
  return output;
}

// The token's text, and whether the sample ends with it.
void EngineSample::Judge(int32_t token, Output* output) {
  if (IsEndOfSequence(token)) {
    output->reason = FinishReason::kEndOfSequence;
  } else if (IsStopToken(token)) {
    output->reason = FinishReason::kStopToken;
  } else {
    TextStream::Piece piece = text_.Append(token, generated_ >= request_->min_tokens);
    output->delta.text = std::move(piece.text);
    output->reason = LimitReached();
    if (piece.stop) {
      output->reason = FinishReason::kStopText;
      output->stop_text = *std::move(piece.stop);
      return;  // nothing is held back any more
    }
  }
  if (output->reason) output->delta.text += text_.Finish();
}

bool EngineSample::IsEndOfSequence(int32_t token) const {
  return !request_->ignore_eos && absl::c_linear_search(tokenizer_->vocabulary().eos, token);
}

bool EngineSample::IsStopToken(int32_t token) const {
  return absl::c_linear_search(request_->stop_token_ids, token);
}

std::optional<FinishReason> EngineSample::LimitReached() const {
  if (generated_ < request_->max_tokens) return std::nullopt;
  return request_->max_tokens_is_context ? FinishReason::kMaxContext : FinishReason::kMaxTokens;
}

}  // namespace sieve
