#ifndef SIEVE_CLIENT_BENCH_RUNNER_H_
#define SIEVE_CLIENT_BENCH_RUNNER_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <queue>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "client/bench/measurements.h"
#include "client/bench/prompt.h"
#include "client/bench/stream.h"
#include "client/bench/workload.h"
#include "sieve/v1/generation.grpc.pb.h"

namespace sieve {

// Sends a workload's requests when they are due, whatever became of those before, and cancels those
// that are to be cancelled. One thread sends; gRPC's own few threads receive.
class Runner {
 public:
  struct Config {
    // Used in turn; not owned.
    std::vector<v1::Generation::StubInterface*> stubs;
    v1::GenerateRequest request;  // all but prompt and max_tokens
    std::vector<std::string> tenants;
    // Closed loop: as many requests at any time, and the workload's times do not count.
    std::optional<int32_t> concurrency;
    std::optional<int64_t> max_requests;
    Window window;                          // nothing is sent from its end on
    int64_t drain_timeout = kNever;         // for what is in flight when nothing more is sent, ns
    std::optional<absl::Duration> timeout;  // of each call
    int64_t max_in_flight = 1'000'000;
  };

  Runner(const Config& config, const PromptMaker& prompts, const Objective& objective);

  // REQUIRES: called once.
  Measurements Run(Workload* workload);
  // Thread-safe: no more is sent, all that is in flight is abandoned, Run returns soon.
  void Stop();

 private:
  struct Prepared {
    Arrival arrival;
    std::shared_ptr<BenchStream> stream;
  };
  using Cancellation = std::pair<int64_t, int64_t>;  // time, index of the request

  int64_t Now() const { return SteadyNanos() - start_; }
  // The next request, made before it is due; nothing when the workload has no more.
  std::optional<Prepared> Prepare(Workload* workload);
  // When to wake up if nothing happens before.
  int64_t NextWake(const std::optional<Prepared>& next) const;
  // Until `wake`, or something wants attention; false when the run is over.
  bool Wait(int64_t wake, bool sending);
  // When the request was due, if it is time to send it. REQUIRES: mutex_ is not held.
  std::optional<int64_t> TakeDue(const Prepared& next, int64_t now);
  void Send(Prepared next, int64_t intended);
  void StartDraining();
  void CancelDue(int64_t now);
  void AbandonAll();
  void OnDone(int64_t index, const Outcome& outcome);

  const Config config_;
  const PromptMaker prompts_;
  Recorder recorder_;
  int64_t start_ = 0;
  int64_t prepared_ = 0;

  // Of the sending thread.
  std::priority_queue<Cancellation, std::vector<Cancellation>, std::greater<Cancellation>>
      cancellations_;
  int64_t drain_end_ = kNever;
  bool abandoned_ = false;

  std::mutex mutex_;  // guards all below
  std::condition_variable wake_;
  std::unordered_map<int64_t, std::shared_ptr<BenchStream>> in_flight_;
  // Deleted by the sending thread, for a stream may be the last owner of its channel, and gRPC's
  // threads cannot end themselves with it.
  std::vector<std::shared_ptr<BenchStream>> finished_;
  int64_t max_in_flight_seen_ = 0;
  std::deque<int64_t> free_slots_;  // closed loop: when each became free
  bool draining_ = false;
  bool stopped_ = false;
  int64_t stopped_at_ = 0;
};

}  // namespace sieve

#endif  // SIEVE_CLIENT_BENCH_RUNNER_H_
