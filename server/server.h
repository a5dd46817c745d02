#ifndef SIEVE_SERVER_SERVER_H_
#define SIEVE_SERVER_SERVER_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/generation_service.h"
#include "server/grpc_server.h"
#include "server/metrics.h"
#include "server/metrics_server.h"
#include "server/model_host.h"
#include "server/observer_list.h"
#include "server/request_log.h"
#include "server/server_config.h"
#include "server/snapshot_collector.h"
#include "server/startup_times.h"

namespace sieve {

// The whole server: a model behind gRPC, and its metrics.
class Server {
 public:
  // Returns when requests can be served.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerConfig& config);

  const ModelInfo& model() const { return host_->info(); }
  int grpc_port() const { return grpc_->port(); }
  int metrics_port() const { return metrics_server_ ? metrics_server_->port() : 0; }  // 0: off

  // Ends open requests with UNAVAILABLE, after the events that they already have; streams that are
  // still not read after `grace` are cut.
  void Stop(absl::Duration grace);

 private:
  Server() = default;

  MetricsSnapshot Snapshot() const;  // thread-safe

  // In the order in which they borrow from each other.
  Metrics metrics_;
  std::unique_ptr<RequestLog> request_log_;  // null: off
  ObserverList observers_;
  std::atomic<bool> draining_ = false;
  std::atomic<int64_t> listen_nanoseconds_ = 0;  // see StartupTimes; 0 until then
  std::unique_ptr<ModelHost> host_;
  std::unique_ptr<GenerationService> service_;
  std::unique_ptr<GrpcServer> grpc_;
  std::unique_ptr<MetricsServer> metrics_server_;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_SERVER_H_
