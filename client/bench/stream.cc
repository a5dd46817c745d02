#include "client/bench/stream.h"

#include <chrono>
#include <utility>

#include "absl/time/clock.h"
#include "client/bench/refusal_reason.h"

namespace sieve {
namespace {

int64_t NanosOf(const google::protobuf::Duration& duration) {
  return duration.seconds() * 1'000'000'000 + duration.nanos();
}

}  // namespace

int64_t SteadyNanos() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

BenchStream::BenchStream(const Config& config, v1::GenerateRequest request, int32_t tenant,
                         std::function<void(const Outcome&)> on_done)
    : config_(config), request_(std::move(request)), on_done_(std::move(on_done)) {
  outcome_.tenant = tenant;
  if (!config_.tenant.empty()) context_.AddMetadata("x-sieve-tenant", config_.tenant);
}

void BenchStream::Start(v1::Generation::StubInterface* stub, int64_t intended) {
  if (config_.timeout) context_.set_deadline(absl::ToChronoTime(absl::Now() + *config_.timeout));
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    outcome_.intended = intended;
    outcome_.sent = SteadyNanos() - config_.run_start;
    outcome_.handed_over = outcome_.sent;
  }
  stub->async()->Generate(&context_, &request_, this);
  StartRead(&event_);
  AddHold();  // the call cannot end, nor this be deleted, before RemoveHold
  StartCall();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    outcome_.handed_over = SteadyNanos() - config_.run_start;
  }
  RemoveHold();
}

void BenchStream::Cancel(Outcome::Ending why) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    outcome_.ending = why;
  }
  context_.TryCancel();
}

void BenchStream::OnReadDone(bool ok) {
  if (!ok) return;  // OnDone follows
  const int64_t now = SteadyNanos() - config_.run_start;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (event_.has_accepted()) {
      outcome_.accepted = true;
      outcome_.prompt_tokens = event_.accepted().prompt_tokens();
      outcome_.cached_prompt_tokens = event_.accepted().cached_prompt_tokens();
    } else if (event_.has_delta()) {
      OnDelta(event_.delta(), now);
    } else if (event_.finished().has_timings()) {
      outcome_.server_first_token = NanosOf(event_.finished().timings().time_to_first_token());
    }
  }
  StartRead(&event_);
}

void BenchStream::OnDelta(const v1::Delta& delta, int64_t now) {
  const int tokens = delta.token_ids_size();
  if (tokens == 0) return;  // text that was held back
  if (outcome_.tokens == 0) {
    outcome_.first_token = now;
  } else {
    outcome_.gaps.insert(outcome_.gaps.end(), tokens, (now - last_token_) / tokens);
  }
  last_token_ = now;
  outcome_.tokens += tokens;
  if (config_.window.Contains(now)) outcome_.tokens_in_window += tokens;
}

void BenchStream::OnDone(const grpc::Status& status) {
  Outcome outcome;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    outcome_.done = SteadyNanos() - config_.run_start;
    outcome_.code = status.error_code();
    // Cancelled too late: the server's answer stands.
    if (outcome_.code != grpc::StatusCode::CANCELLED) outcome_.ending = Outcome::Ending::kServer;
    outcome_.reason = RefusalReason(status);
    outcome = std::move(outcome_);
  }
  on_done_(outcome);
}

}  // namespace sieve
