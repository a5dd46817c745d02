#include "server/admission.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/refusal.h"

namespace sieve {
namespace {

constexpr absl::Duration kLeastRetry = absl::Milliseconds(100);
constexpr absl::Duration kMostRetry = absl::Seconds(30);
// Where no rate says more: before the first is measured, and for a server that stops, in whose
// place another one may listen soon.
constexpr absl::Duration kDefaultRetry = absl::Seconds(1);

// What is more than that is not worth telling apart, and a message could not hold infinity.
constexpr absl::Duration kLongestEstimate = absl::Hours(24);

// Whether `more` may be added to a `total` of which the tenant has `own`.
bool HasRoom(int64_t limit, int64_t total, int64_t more, int64_t own, double share) {
  if (limit == 0 || total == 0 || total + more <= limit) return true;
  if (total + more > 2 * limit) return false;
  return own == 0 || own + more <= share * limit;
}

}  // namespace

absl::Status Admission::Check(const std::string& tenant, double weight,
                              int64_t prompt_tokens) const {
  if (closed_) {
    return Refusal(absl::UnavailableError("the server is shutting down"), RefusalReason::kDraining,
                   kDefaultRetry);
  }
  const Account own = AccountOf(tenant);
  const double share = ShareOf(tenant, weight);
  if (!HasRoom(limits_.max_queued_requests, requests_, 1, own.requests, share)) {
    return Refusal(absl::ResourceExhaustedError(absl::StrCat(
                       "the queue is full: ", requests_, " requests are waiting, ", own.requests,
                       " of them yours; ", limits_.max_queued_requests, " may")),
                   RefusalReason::kQueueFull, RetryAfter());
  }
  if (!HasRoom(limits_.max_queued_prompt_tokens, prompt_tokens_, prompt_tokens, own.prompt_tokens,
               share)) {
    return Refusal(absl::ResourceExhaustedError(absl::StrCat(
                       "the queue is full: ", prompt_tokens_, " prompt tokens are waiting, ",
                       own.prompt_tokens, " of them yours; ", limits_.max_queued_prompt_tokens,
                       " may, and the request has ", prompt_tokens)),
                   RefusalReason::kQueuedTokens, RetryAfter());
  }
  return absl::OkStatus();
}

void Admission::Enter(const std::string& tenant, double weight, int64_t prompt_tokens) {
  Account& account = accounts_[tenant];
  weights_ += weight - account.weight;
  account.weight = weight;
  ++account.requests;
  account.prompt_tokens += prompt_tokens;
  ++requests_;
  prompt_tokens_ += prompt_tokens;
}

void Admission::Leave(const std::string& tenant, int64_t prompt_tokens) {
  const auto account = accounts_.find(tenant);
  --requests_;
  prompt_tokens_ -= prompt_tokens;
  account->second.prompt_tokens -= prompt_tokens;
  if (--account->second.requests > 0) return;
  weights_ -= account->second.weight;
  accounts_.erase(account);
  if (accounts_.empty()) weights_ = 0;  // no rounding is carried on
}

void Admission::ObserveStep(const Step& step) {
  if (step.prefill_tokens > 0) prefill_.Observe(step.prefill_tokens, step.time);
  // From one start to the next. Steps that start nothing, one by one, would let the rate fade
  // exponentially, and what waits seem to wait for hours.
  since_start_ = requests_ > 0 ? since_start_ + step.time : absl::ZeroDuration();
  if (requests_ > 0 && step.started_tokens > 0) {
    queue_.Observe(step.started_tokens, std::exchange(since_start_, absl::ZeroDuration()));
  }
}

std::optional<absl::Duration> Admission::TimeToFirstToken(const std::string& tenant, double weight,
                                                          int64_t new_tokens) const {
  const double prefill_rate = prefill_.rate();
  if (prefill_rate <= 0) return std::nullopt;
  const double queue_rate = QueueRate();
  const double before =
      std::min<double>(prompt_tokens_, AccountOf(tenant).prompt_tokens / ShareOf(tenant, weight));
  const double seconds = before / queue_rate + (prefill_backlog_ + new_tokens) / prefill_rate;
  return std::min(absl::Seconds(seconds), kLongestEstimate);
}

Admission::Account Admission::AccountOf(const std::string& tenant) const {
  const auto account = accounts_.find(tenant);
  return account == accounts_.end() ? Account() : account->second;
}

double Admission::ShareOf(const std::string& tenant, double weight) const {
  return weight / (weights_ - AccountOf(tenant).weight + weight);
}

// Prompt tokens a second that leave the queue; before any did, as fast as prompts are computed.
double Admission::QueueRate() const {
  const double rate = queue_.rate(since_start_);
  return rate > 0 ? rate : prefill_.rate();
}

// The time that what waits takes to leave the queue.
absl::Duration Admission::RetryAfter() const {
  const double rate = QueueRate();
  if (rate <= 0) return kDefaultRetry;
  return std::clamp(absl::Seconds(prompt_tokens_ / rate), kLeastRetry, kMostRetry);
}

}  // namespace sieve
