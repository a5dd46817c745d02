#include "server/event_encoding.h"

#include "server/duration_encoding.h"

namespace sieve {
namespace {

void EncodeLogprob(const EventContext& context, const TokenLogprob& logprob,
                   v1::TokenLogprob* out) {
  out->set_token_id(logprob.token_id);
  out->set_logprob(logprob.logprob);
  out->set_token(TokenBytesOf(*context.tokenizer, logprob.token_id));
}

v1::FinishReason EncodeReason(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEndOfSequence:
      return v1::FINISH_REASON_END_OF_SEQUENCE;
    case FinishReason::kStopText:
      return v1::FINISH_REASON_STOP_TEXT;
    case FinishReason::kStopToken:
      return v1::FINISH_REASON_STOP_TOKEN;
    case FinishReason::kMaxTokens:
      return v1::FINISH_REASON_MAX_TOKENS;
    case FinishReason::kMaxContext:
      return v1::FINISH_REASON_MAX_CONTEXT;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

}  // namespace

std::string TokenBytesOf(const Tokenizer& tokenizer, int32_t id) {
  if (id < 0 || id >= tokenizer.vocabulary_size()) return "";
  return std::string(tokenizer.TokenBytes(id));
}

void EncodeEvent(const EventContext& context, const AcceptedEvent& event, v1::Accepted* out) {
  out->set_request_id(context.request_id);
  out->set_prompt_tokens(event.prompt_tokens);
  out->set_cached_prompt_tokens(event.cached_prompt_tokens);
  out->set_seed(context.seed);
}

void EncodeEvent(const FinishedEvent& event, v1::Finished* out) {
  out->set_sample(event.sample);
  out->set_reason(EncodeReason(event.reason));
  out->set_stop_text(event.stop_text);
  v1::Usage* usage = out->mutable_usage();
  usage->set_prompt_tokens(event.prompt_tokens);
  usage->set_cached_prompt_tokens(event.cached_prompt_tokens);
  usage->set_generated_tokens(event.generated_tokens);
  usage->set_preemptions(event.preemptions);
  v1::Timings* timings = out->mutable_timings();
  EncodeDuration(event.queue, timings->mutable_queue());
  EncodeDuration(event.prefill, timings->mutable_prefill());
  EncodeDuration(event.time_to_first_token, timings->mutable_time_to_first_token());
  EncodeDuration(event.decode, timings->mutable_decode());
  v1::CacheUse* cache = out->mutable_cache();
  cache->set_peak_bytes(event.peak_cache_bytes);
  cache->set_page_seconds(event.page_seconds);
  *out->mutable_reads() = EncodeReads(event.reads);
}

v1::CacheReads EncodeReads(const CacheReads& reads) {
  v1::CacheReads out;
  out.set_causal_keys(reads.causal_keys);
  out.set_exact_keys(reads.exact_keys);
  out.set_key_value_bytes(reads.key_value_bytes);
  out.set_choice_bytes(reads.choice_bytes);
  out.set_entry_bytes(reads.entry_bytes);
  return out;
}

v1::EstimateCostResponse EncodeCost(const GenerationRequest& request, const CostEstimate& cost) {
  v1::EstimateCostResponse out;
  out.set_prompt_tokens(static_cast<int32_t>(request.prompt.size()));
  out.set_cached_prompt_tokens(static_cast<int32_t>(cost.cached_prompt_tokens));
  out.set_max_generated_tokens(int64_t{request.num_samples} * request.max_tokens);
  out.set_prompt_cache_bytes(cost.prompt_cache_bytes);
  out.set_peak_cache_bytes(cost.peak_cache_bytes);
  if (cost.time_to_first_token.has_value()) {
    EncodeDuration(*cost.time_to_first_token, out.mutable_time_to_first_token());
  }
  out.set_refusal(std::string(cost.refusal.message()));
  return out;
}

template <typename Message>
void AppendOutput(const EventContext& context, const DeltaEvent& event, Message* out) {
  out->mutable_text()->append(event.text);
  out->mutable_token_ids()->Add(event.token_ids.begin(), event.token_ids.end());
  for (const PositionLogprobs& position : event.logprobs) {
    v1::PositionLogprobs* to = out->add_logprobs();
    EncodeLogprob(context, position.chosen, to->mutable_chosen());
    for (const TokenLogprob& top : position.top) EncodeLogprob(context, top, to->add_top());
  }
}

template void AppendOutput(const EventContext&, const DeltaEvent&, v1::Delta*);
template void AppendOutput(const EventContext&, const DeltaEvent&, v1::Sample*);

}  // namespace sieve
