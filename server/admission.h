#ifndef SIEVE_SERVER_ADMISSION_H_
#define SIEVE_SERVER_ADMISSION_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/rate_estimator.h"

namespace sieve {

struct AdmissionLimits {
  int64_t max_queued_requests = 1024;
  int64_t max_queued_prompt_tokens = 0;  // 0: no limit
};

// The accounts of the queue: what waits for its first step, whose it is, and how long it is likely
// to take.
//
// Sharing. Below both limits everybody is admitted. When a limit is reached, tenants still are up
// to their share of it: the limit times the tenant's weight over the weights of the tenants that
// have something in the queue, itself included. So one tenant cannot lock the others out. A share
// is at least one request, however long its prompt. At twice a limit nobody is admitted, however
// many tenants there are. A prompt longer than the limit of tokens is admitted when nothing else
// waits.
//
// Not thread-safe.
class Admission {
 public:
  explicit Admission(const AdmissionLimits& limits) : limits_(limits) {}

  // OK, or why a request would be refused now: UNAVAILABLE after Close, RESOURCE_EXHAUSTED; with
  // the time after which to try again.
  absl::Status Check(const std::string& tenant, double weight, int64_t prompt_tokens) const;

  // A request that Check admitted enters the queue; it leaves when it starts or ends.
  void Enter(const std::string& tenant, double weight, int64_t prompt_tokens);
  void Leave(const std::string& tenant, int64_t prompt_tokens);

  // Admits nobody any more.
  void Close() { closed_ = true; }
  bool closed() const { return closed_; }

  struct Step {
    absl::Duration time{};
    int64_t prefill_tokens = 0;  // computed
    int64_t started_tokens = 0;  // prompt tokens that left the queue
  };
  // What rates are measured by: prompt tokens computed in steps that compute some, and prompt
  // tokens that leave the queue in steps that leave others waiting.
  void ObserveStep(const Step& step);

  // Prompt tokens that running requests have still to compute.
  void set_prefill_backlog(int64_t tokens) { prefill_backlog_ = tokens; }

  double prefill_rate() const { return prefill_.rate(); }

  // How long a request of `tenant` that arrived now would wait for its first token, when
  // `new_tokens` of its prompt are to be computed: what is before it in the queue by the rate at
  // which the queue moves, then prompts in progress and its own by the rate of prefill. Before it
  // is what its tenant has in the queue, and as much of the others' as their weights let pass.
  // Nothing before the first rate is measured.
  std::optional<absl::Duration> TimeToFirstToken(const std::string& tenant, double weight,
                                                 int64_t new_tokens) const;

  int64_t requests() const { return requests_; }
  int64_t prompt_tokens() const { return prompt_tokens_; }

 private:
  struct Account {
    double weight = 0;
    int64_t requests = 0;
    int64_t prompt_tokens = 0;
  };

  Account AccountOf(const std::string& tenant) const;
  // The tenant's part of what all tenants may have, itself included.
  double ShareOf(const std::string& tenant, double weight) const;
  double QueueRate() const;
  absl::Duration RetryAfter() const;

  const AdmissionLimits limits_;
  absl::flat_hash_map<std::string, Account> accounts_;  // of tenants that have something queued
  double weights_ = 0;                                  // of all accounts
  int64_t requests_ = 0;
  int64_t prompt_tokens_ = 0;
  bool closed_ = false;
  RateEstimator prefill_, queue_;
  absl::Duration since_start_{};  // while requests wait: time of steps since one last started
  int64_t prefill_backlog_ = 0;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_ADMISSION_H_
