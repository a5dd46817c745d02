#ifndef SIEVE_SERVER_METRICS_H_
#define SIEVE_SERVER_METRICS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "prometheus/collectable.h"
#include "prometheus/counter.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "server/engine.h"
#include "server/model_info.h"

namespace sieve {

// What is read anew at every scrape.
struct MetricsSnapshot {
  EngineStats engine;
  int64_t weight_bytes = 0;
  int64_t cache_bytes = 0;
  int64_t workspace_bytes = 0;
};

// The server's Prometheus metrics: what happens is counted through EngineObserver, what is, is read
// from a source. Names have the prefix sieve_ and base units. Thread-safe.
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
  const std::shared_ptr<prometheus::Registry> registry_;
  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Histogram& step_seconds_;
  prometheus::Histogram& time_to_first_token_seconds_;
  prometheus::Histogram& inter_token_seconds_;
};

// Gauges and totals of the engine, the cache and the memory. `source` is called on scraping
// threads; `model` is borrowed.
std::shared_ptr<prometheus::Collectable> MakeSnapshotCollector(
    const ModelInfo* model, std::function<MetricsSnapshot()> source);

}  // namespace sieve

#endif  // SIEVE_SERVER_METRICS_H_
