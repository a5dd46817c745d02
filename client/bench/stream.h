#ifndef SIEVE_CLIENT_BENCH_STREAM_H_
#define SIEVE_CLIENT_BENCH_STREAM_H_

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>

#include "absl/time/time.h"
#include "client/bench/measurements.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/client_callback.h"
#include "sieve/v1/generation.grpc.pb.h"

namespace sieve {

// Nanoseconds on the steady clock.
int64_t SteadyNanos();

// One Generate call of a run, without a thread of its own.
class BenchStream final : public grpc::ClientReadReactor<v1::GenerateEvent> {
 public:
  struct Config {
    int64_t run_start = 0;  // SteadyNanos() at the run's time 0
    Window window;
    std::optional<absl::Duration> timeout;
    std::string tenant;  // empty: none is sent
  };

  // `on_done` is the last thing that happens; the stream may be deleted from then on, but not by
  // the thread that calls it.
  BenchStream(const Config& config, v1::GenerateRequest request, int32_t tenant,
              std::function<void(const Outcome&)> on_done);

  // Sends the request. `intended`: see Outcome.
  void Start(v1::Generation::StubInterface* stub, int64_t intended);
  // May be called at any time after Start, also when the call has ended.
  void Cancel(Outcome::Ending why);

  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  void OnDelta(const v1::Delta& delta, int64_t now);

  const Config config_;
  const v1::GenerateRequest request_;
  const std::function<void(const Outcome&)> on_done_;
  grpc::ClientContext context_;
  v1::GenerateEvent event_;

  // gRPC orders its calls, but through libraries that ThreadSanitizer does not see into.
  std::mutex mutex_;
  Outcome outcome_;         // guarded by mutex_
  int64_t last_token_ = 0;  // guarded by mutex_
};

}  // namespace sieve

#endif  // SIEVE_CLIENT_BENCH_STREAM_H_
