#ifndef SIEVE_SERVER_METRICS_H_
#define SIEVE_SERVER_METRICS_H_

#include <array>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "prometheus/collectable.h"
#include "prometheus/counter.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "server/engine.h"
#include "server/refusal.h"

namespace sieve {

// What happens to requests, counted and measured as Prometheus metrics. Names have the prefix
// sieve_ and base units; every series exists from the start, so that rates are defined. Nothing is
// looked up or allocated when something is counted. Thread-safe.
class Metrics final : public EngineObserver {
 public:
  Metrics();

  void OnStep(const StepRecord& step) override;
  void OnFirstToken(absl::Duration time_to_first_token) override;
  void OnInterToken(absl::Duration gap) override;
  void OnEnd(const RequestRecord& record) override;

  // A request that ended before the engine took it.
  void OnRefused(const absl::Status& status);

  std::shared_ptr<prometheus::Collectable> registry() const { return registry_; }

 private:
  static constexpr int kNumCodes = 17;  // of gRPC, OK included
  static constexpr int kNumPhases = 3;

  void CountEnd(const absl::Status& status);

  const std::shared_ptr<prometheus::Registry> registry_;

  // Each place holds a series of the registry's.
  std::array<prometheus::Counter*, kNumCodes> requests_{};
  std::array<prometheus::Counter*, kNumCodes> wasted_tokens_{};  // that of OK: null
  std::array<prometheus::Counter*, kNumRefusalReasons> rejections_{};
  std::array<prometheus::Counter*, kNumPhases> deadline_expiries_{};

  prometheus::Histogram& time_to_first_token_;
  prometheus::Histogram& inter_token_;
  prometheus::Histogram& queue_;
  prometheus::Histogram& prefill_;
  prometheus::Histogram& decode_;
  prometheus::Histogram& end_to_end_;
  prometheus::Histogram& prompt_tokens_;
  prometheus::Histogram& output_tokens_;
  prometheus::Histogram& cache_bytes_;
  prometheus::Histogram* plan_ = nullptr;  // one family
  prometheus::Histogram* forward_ = nullptr;
  prometheus::Histogram* sample_ = nullptr;
  prometheus::Histogram& batch_sequences_;
  prometheus::Histogram& batch_tokens_;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_METRICS_H_
