#ifndef SIEVE_CLIENT_BENCH_MEASUREMENTS_H_
#define SIEVE_CLIENT_BENCH_MEASUREMENTS_H_

#include <cstdint>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "client/bench/histogram.h"
#include "grpcpp/support/status.h"

namespace sieve {

// All times here are nanoseconds on the steady clock, instants counted from the start of the run.
inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

// The part of a run that is measured: [begin, end).
struct Window {
  int64_t begin = 0;
  int64_t end = kNever;

  bool Contains(int64_t time) const { return time >= begin && time < end; }
};

// How one request went.
struct Outcome {
  enum class Ending {
    kServer,     // the server (or the connection) ended it
    kCancelled,  // cancelled by plan
    kAbandoned,  // cancelled because the run was over
  };

  int64_t intended = 0;     // when it was to be sent: every latency counts from here
  int64_t sent = 0;         // when sending began
  int64_t handed_over = 0;  // when the library had taken it
  int64_t first_token = -1;
  int64_t done = 0;
  Ending ending = Ending::kServer;
  grpc::StatusCode code = grpc::StatusCode::OK;
  std::string reason;     // a refusal's, as the server names it; may be empty
  bool accepted = false;  // the server said that it runs
  int32_t tenant = -1;
  int32_t prompt_tokens = 0;
  int32_t cached_prompt_tokens = 0;
  int64_t tokens = 0;
  int64_t tokens_in_window = 0;
  // One for each token but those of the first message: the time since the message before, divided
  // by the number of tokens that came together.
  std::vector<int64_t> gaps;
  int64_t server_first_token = -1;  // arrival to first token, by the server's own clock
};

// What a request must not exceed to be good.
struct Objective {
  int64_t first_token = kNever;
  int64_t gap = kNever;  // p99 (nearest rank) of the request's own gaps
  int64_t end_to_end = kNever;
};

struct TenantCounts {
  int64_t requests = 0, ok = 0, good = 0, rejected = 0, tokens_in_window = 0;
  Histogram first_token;
};

// What a run came to. Requests are those that arrived within the window; rates are of what happened
// within it, whenever the request came.
struct Measurements {
  Window window;
  int64_t requests = 0;
  int64_t unsent = 0;                      // of them: too many were in flight already
  std::map<std::string, int64_t> by_code;  // as the server ended them
  std::map<std::string, int64_t> by_reason;
  int64_t cancelled = 0, abandoned = 0, rejected = 0;
  int64_t good = 0;                                     // OK and within the objective
  int64_t prompt_tokens = 0, cached_prompt_tokens = 0;  // of those that ran

  int64_t tokens_in_window = 0;
  int64_t done_in_window = 0;  // with OK
  int64_t good_in_window = 0, good_tokens_in_window = 0;

  Histogram first_token, gap, end_to_end;  // end to end: of those that ended with OK
  Histogram rejection;                     // from the intended time to the refusal
  Histogram rejection_from_send;           // from sending to the refusal
  Histogram lag;            // from the intended time until the library had taken the request
  Histogram beyond_server;  // first token as seen here less as the server saw it
  std::vector<TenantCounts> tenants;

  int64_t last_arrival = 0, last_done = 0;  // whether measured or not
  int64_t max_in_flight = 0;
  bool interrupted = false;
};

// Adds up outcomes, in memory that does not grow with their number. Thread-safe.
class Recorder {
 public:
  Recorder(const Window& window, const Objective& objective, int num_tenants);

  void Add(const Outcome& outcome);
  // A request that was not sent.
  void AddUnsent(int64_t intended);
  Measurements Take();

 private:
  bool IsGood(const Outcome& outcome) const;
  void AddMeasured(const Outcome& outcome, bool good);
  void AddEnding(const Outcome& outcome);
  void AddToTenant(const Outcome& outcome, bool good);

  const Objective objective_;
  std::mutex mutex_;
  Measurements sums_;  // guarded by mutex_
};

// Refused before it ran: RESOURCE_EXHAUSTED or UNAVAILABLE with nothing accepted.
bool IsRejection(const Outcome& outcome);

}  // namespace sieve

#endif  // SIEVE_CLIENT_BENCH_MEASUREMENTS_H_
