#ifndef SIEVE_SERVER_EVENT_ENCODING_H_
#define SIEVE_SERVER_EVENT_ENCODING_H_

#include <cstdint>
#include <string>

#include "model/tokenizer/tokenizer.h"
#include "server/engine.h"
#include "server/generation.h"
#include "sieve/v1/generation.pb.h"

namespace sieve {

// What the events of one request need beside themselves to become messages. Borrows the tokenizer.
struct EventContext {
  std::string request_id;
  uint64_t seed = 0;
  const Tokenizer* tokenizer = nullptr;
};

// Each replaces `out`, whose old contents do not matter.
void EncodeEvent(const EventContext& context, const AcceptedEvent& event, v1::Accepted* out);
void EncodeEvent(const FinishedEvent& event, v1::Finished* out);

// Delta and Sample have the same fields for output; this adds the event's to those of `out`.
template <typename Message>
void AppendOutput(const EventContext& context, const DeltaEvent& event, Message* out);

v1::CacheReads EncodeReads(const CacheReads& reads);

v1::EstimateCostResponse EncodeCost(const GenerationRequest& request, const CostEstimate& cost);

// A token's own bytes; empty for an id that the tokenizer does not know (padding rows of the
// model's head).
std::string TokenBytesOf(const Tokenizer& tokenizer, int32_t id);

extern template void AppendOutput(const EventContext&, const DeltaEvent&, v1::Delta*);
extern template void AppendOutput(const EventContext&, const DeltaEvent&, v1::Sample*);

}  // namespace sieve

#endif  // SIEVE_SERVER_EVENT_ENCODING_H_
