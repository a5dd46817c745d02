#ifndef SIEVE_SERVER_OPEN_REQUEST_H_
#define SIEVE_SERVER_OPEN_REQUEST_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/attention/cache_reads.h"
#include "model/tokenizer/tokenizer.h"
#include "server/cache_accounts.h"
#include "server/engine_observer.h"
#include "server/engine_sample.h"
#include "server/event_queue.h"
#include "server/generation.h"
#include "server/scheduler.h"

namespace sieve {

// A request from its submission until its EndEvent.
struct OpenRequest {
  OpenRequest(GenerationRequest request, std::shared_ptr<EventQueue> queue);

  // Makes the samples and gives the prompt away.
  SequenceGroup BeginWaiting(const Tokenizer* tokenizer);
  bool started() const { return scheduled != absl::InfiniteFuture(); }
  bool has_tokens() const { return first_token != absl::InfiniteFuture(); }

  GenerationRequest request;
  std::shared_ptr<EventQueue> queue;
  int32_t prompt_tokens = 0;
  int32_t cached_prompt_tokens = 0;
  int32_t preemptions = 0;  // of all samples
  int64_t generated_tokens = 0;
  CacheReads reads;  // all samples
  std::vector<EngineSample> samples;
  int32_t unfinished_samples = 0;
  absl::Time scheduled = absl::InfiniteFuture();    // first step
  absl::Time first_token = absl::InfiniteFuture();  // of any sample: the prompt is computed
  bool forked = false;  // the last chunk of the prompt was submitted: every sample goes its own way
  bool behind = false;  // the queue is full
  absl::Time behind_since;
};

// One sample that is over; `output` is of its last token.
FinishedEvent MakeFinishedEvent(const OpenRequest& open, int32_t sample,
                                const EngineSample::Output& output, int32_t preemptions,
                                const CacheAccounts::Use& use, int64_t page_bytes);

// The whole request, which ends at `now` with `status`. Points to both arguments.
RequestRecord MakeRecord(const OpenRequest& open, const absl::Status& status, absl::Time now,
                         const CacheAccounts::Use& use, int64_t page_bytes);

}  // namespace sieve

#endif  // SIEVE_SERVER_OPEN_REQUEST_H_
