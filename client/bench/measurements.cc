#include "client/bench/measurements.h"

#include <algorithm>
#include <utility>

#include "client/exit_code.h"

namespace sieve {
namespace {

int64_t P99(std::vector<int64_t> values) {
  const size_t rank = (values.size() * 99 + 99) / 100;  // rounded up; from 1
  std::nth_element(values.begin(), values.begin() + rank - 1, values.end());
  return values[rank - 1];
}

}  // namespace

bool IsRejection(const Outcome& outcome) {
  return outcome.ending == Outcome::Ending::kServer && !outcome.accepted &&
         (outcome.code == grpc::StatusCode::RESOURCE_EXHAUSTED ||
          outcome.code == grpc::StatusCode::UNAVAILABLE);
}

Recorder::Recorder(const Window& window, const Objective& objective, int num_tenants)
    : objective_(objective) {
  sums_.window = window;
  sums_.tenants.resize(num_tenants);
}

bool Recorder::IsGood(const Outcome& outcome) const {
  if (outcome.code != grpc::StatusCode::OK || outcome.first_token < 0) return false;
  if (outcome.first_token - outcome.intended > objective_.first_token) return false;
  if (outcome.done - outcome.intended > objective_.end_to_end) return false;
  return outcome.gaps.empty() || objective_.gap == kNever || P99(outcome.gaps) <= objective_.gap;
}

void Recorder::Add(const Outcome& outcome) {
  const bool good = IsGood(outcome);
  const std::lock_guard<std::mutex> lock(mutex_);
  sums_.last_arrival = std::max(sums_.last_arrival, outcome.intended);
  sums_.last_done = std::max(sums_.last_done, outcome.done);
  sums_.tokens_in_window += outcome.tokens_in_window;
  if (sums_.window.Contains(outcome.done) && outcome.code == grpc::StatusCode::OK) {
    ++sums_.done_in_window;
    sums_.good_in_window += good;
    if (good) sums_.good_tokens_in_window += outcome.tokens;
  }
  AddToTenant(outcome, good);
  if (sums_.window.Contains(outcome.intended)) AddMeasured(outcome, good);
}

void Recorder::AddMeasured(const Outcome& outcome, bool good) {
  ++sums_.requests;
  sums_.good += good;
  sums_.lag.Add(outcome.handed_over - outcome.intended);
  if (outcome.accepted) {
    sums_.prompt_tokens += outcome.prompt_tokens;
    sums_.cached_prompt_tokens += outcome.cached_prompt_tokens;
  }
  if (outcome.first_token >= 0) {
    const int64_t latency = outcome.first_token - outcome.intended;
    sums_.first_token.Add(latency);
    if (outcome.server_first_token >= 0) {
      sums_.beyond_server.Add(latency - outcome.server_first_token);
    }
  }
  for (const int64_t gap : outcome.gaps) sums_.gap.Add(gap);
  AddEnding(outcome);
}

void Recorder::AddEnding(const Outcome& outcome) {
  if (outcome.ending == Outcome::Ending::kCancelled) {
    ++sums_.cancelled;
    return;
  }
  if (outcome.ending == Outcome::Ending::kAbandoned) {
    ++sums_.abandoned;
    return;
  }
  ++sums_.by_code[StatusCodeName(outcome.code)];
  if (!outcome.reason.empty()) ++sums_.by_reason[outcome.reason];
  if (outcome.code == grpc::StatusCode::OK) sums_.end_to_end.Add(outcome.done - outcome.intended);
  if (IsRejection(outcome)) {
    ++sums_.rejected;
    sums_.rejection.Add(outcome.done - outcome.intended);
    sums_.rejection_from_send.Add(outcome.done - outcome.sent);
  }
}

void Recorder::AddToTenant(const Outcome& outcome, bool good) {
  if (outcome.tenant < 0) return;
  TenantCounts& tenant = sums_.tenants[outcome.tenant];
  tenant.tokens_in_window += outcome.tokens_in_window;
  if (!sums_.window.Contains(outcome.intended)) return;
  ++tenant.requests;
  tenant.ok += outcome.code == grpc::StatusCode::OK;
  tenant.good += good;
  tenant.rejected += IsRejection(outcome);
  if (outcome.first_token >= 0) {
    tenant.first_token.Add(outcome.first_token - outcome.intended);
  }
}

void Recorder::AddUnsent(int64_t intended) {
  const std::lock_guard<std::mutex> lock(mutex_);
  sums_.last_arrival = std::max(sums_.last_arrival, intended);
  if (!sums_.window.Contains(intended)) return;
  ++sums_.requests;
  ++sums_.unsent;
}

Measurements Recorder::Take() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(sums_, Measurements());
}

}  // namespace sieve
