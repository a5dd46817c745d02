#include "server/open_request.h"

#include <cmath>
#include <utility>

namespace sieve {
namespace {

int64_t PeakBytes(const CacheAccounts::Use& use, int64_t page_bytes) {
  return std::llround(use.peak_pages * page_bytes);
}

}  // namespace

OpenRequest::OpenRequest(GenerationRequest request, std::shared_ptr<EventQueue> queue)
    : request(std::move(request)), queue(std::move(queue)) {
  prompt_tokens = this->request.prompt.size();
  unfinished_samples = this->request.num_samples;
}

SequenceGroup OpenRequest::BeginWaiting(const Tokenizer* tokenizer) {
  for (int32_t i = 0; i < request.num_samples; ++i) {
    samples.emplace_back(&request, tokenizer, i, request.prompt);
  }
  SequenceGroup group;
  group.prompt = std::move(request.prompt);
  group.num_samples = request.num_samples;
  group.max_tokens = request.max_tokens;
  group.priority = request.priority;
  group.tenant = request.tenant;
  group.weight = request.tenant_weight;
  if (request.adapter != nullptr) {
    group.adapter = request.adapter->slot;
    group.query_tile = request.adapter->query_tile;
    group.cache_root = request.adapter->cache_root;
  }
  group.arrival = request.arrival;
  group.deadline = request.deadline;
  return group;
}

FinishedEvent MakeFinishedEvent(const OpenRequest& open, int32_t sample,
                                const EngineSample::Output& output, int32_t preemptions,
                                const CacheAccounts::Use& use, int64_t page_bytes) {
  const EngineSample& state = open.samples[sample];
  FinishedEvent finished;
  finished.sample = sample;
  finished.reason = *output.reason;
  finished.stop_text = output.stop_text;
  finished.prompt_tokens = open.prompt_tokens;
  finished.cached_prompt_tokens = open.cached_prompt_tokens;
  finished.generated_tokens = state.generated();
  finished.preemptions = preemptions;
  finished.queue = open.scheduled - open.request.arrival;
  finished.prefill = state.first_token() - open.scheduled;
  finished.time_to_first_token = state.first_token() - open.request.arrival;
  finished.decode = state.last_token() - state.first_token();
  finished.peak_cache_bytes = PeakBytes(use, page_bytes);
  finished.page_seconds = use.page_seconds;
  finished.reads = open.reads;
  return finished;
}

RequestRecord MakeRecord(const OpenRequest& open, const absl::Status& status, absl::Time now,
                         const CacheAccounts::Use& use, int64_t page_bytes) {
  RequestRecord record{.request = open.request, .status = status};
  record.prompt_tokens = open.prompt_tokens;
  record.cached_prompt_tokens = open.cached_prompt_tokens;
  record.generated_tokens = open.generated_tokens;
  record.preemptions = open.preemptions;
  record.end_to_end = now - open.request.arrival;
  record.peak_cache_bytes = PeakBytes(use, page_bytes);
  record.page_seconds = use.page_seconds;
  record.reads = open.reads;
  if (!open.started()) {
    record.queue = now - open.request.arrival;
    return record;
  }
  record.queue = open.scheduled - open.request.arrival;
  if (!open.has_tokens()) {
    record.phase = RequestPhase::kPrefill;
    record.prefill = now - open.scheduled;
    return record;
  }
  record.phase = RequestPhase::kDecode;
  record.prefill = open.first_token - open.scheduled;
  record.decode = now - open.first_token;
  record.time_to_first_token = open.first_token - open.request.arrival;
  return record;
}

}  // namespace sieve
