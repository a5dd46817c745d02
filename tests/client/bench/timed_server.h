#ifndef SIEVE_TESTS_CLIENT_BENCH_TIMED_SERVER_H_
#define SIEVE_TESTS_CLIENT_BENCH_TIMED_SERVER_H_

#include <cstdint>
#include <mutex>
#include <vector>

#include "tests/client/fake_server.h"

namespace sieve {

// Answers with a given rhythm and keeps when it really did what, on the clock of the process: what
// a client measures can be compared with the truth, however busy the machine is.
class TimedServer {
 public:
  struct Rhythm {
    int64_t first_token_ns = 0;
    int64_t gap_ns = 0;
    int messages = 1;  // with tokens
    int tokens_per_message = 1;
    // No call that comes within [begin, end) after the start of the server's clock goes on before
    // end.
    int64_t stall_begin_ns = 0, stall_end_ns = 0;
  };
  struct Call {
    int64_t begin = 0;  // SteadyNanos()
    std::vector<int64_t> messages;
    int64_t end = 0;
  };

  explicit TimedServer(const Rhythm& rhythm);
  ~TimedServer();

  FakeServer& fake() { return fake_; }
  // From now on the stall counts.
  void StartClock();
  std::vector<Call> calls() const;
  // Of all calls, nanoseconds, sorted.
  std::vector<int64_t> FirstTokens() const;
  std::vector<int64_t> Gaps() const;
  std::vector<int64_t> EndToEnds() const;

 private:
  grpc::Status Answer(grpc::ServerContext* context, FakeGeneration::Writer* writer);

  const Rhythm rhythm_;
  mutable std::mutex mutex_;  // guards what follows
  int64_t clock_start_;
  std::vector<Call> calls_;
  FakeServer fake_;
};

}  // namespace sieve

#endif  // SIEVE_TESTS_CLIENT_BENCH_TIMED_SERVER_H_
