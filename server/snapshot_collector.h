#ifndef SIEVE_SERVER_SNAPSHOT_COLLECTOR_H_
#define SIEVE_SERVER_SNAPSHOT_COLLECTOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "prometheus/collectable.h"
#include "server/adapters/adapter_registry.h"
#include "server/engine.h"
#include "server/model_info.h"
#include "server/startup_times.h"

namespace sieve {

// What is read anew at every scrape.
struct MetricsSnapshot {
  EngineStats engine;
  std::string memory_device = "host";
  int64_t weight_bytes = 0;
  int64_t cache_bytes = 0;
  int64_t workspace_bytes = 0;
  int64_t adapter_bytes = 0;
  int64_t log_lines_dropped = 0;
  bool draining = false;
  StartupTimes startup;
  std::vector<AdapterInfo> adapters;  // that are loaded
  int64_t max_adapters = 0;
};

// Gauges and totals of the engine, the cache and the memory. `source` is called on scraping
// threads; `model` is borrowed.
std::shared_ptr<prometheus::Collectable> MakeSnapshotCollector(
    const ModelInfo* model, std::function<MetricsSnapshot()> source);

}  // namespace sieve

#endif  // SIEVE_SERVER_SNAPSHOT_COLLECTOR_H_
