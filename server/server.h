#ifndef SIEVE_SERVER_SERVER_H_
#define SIEVE_SERVER_SERVER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/content_log.h"
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
  // Opens the ports. Until Load has returned, health checks say NOT_SERVING and every method is
  // answered UNAVAILABLE.
  static absl::StatusOr<std::unique_ptr<Server>> Listen(ServerConfig config);

  // Returns when requests can be served. Once. Errors as of ModelHost::Open.
  absl::Status Load();

  int grpc_port() const { return grpc_->port(); }
  int metrics_port() const { return metrics_server_ ? metrics_server_->port() : 0; }  // 0: off
  const ModelInfo& model() const { return host_->info(); }  // REQUIRES: loaded

  // Serves no more: refuses new requests, lets running ones finish for `grace`, ends the others
  // with UNAVAILABLE, after the events that they already have; streams that are still not read a
  // few seconds later are cut. REQUIRES: loaded.
  void Drain(absl::Duration grace);

  // The model's device is lost: says NOT_SERVING from now on, and calls ServerConfig::on_broken.
  // The engine's to call.
  void OnBroken(const absl::Status& status);
  absl::Status broken() const;  // what it was called with, or OK; thread-safe

  // Drain, running or to come, waits for nobody. Thread-safe.
  void Hurry() { hurry_.store(true); }

 private:
  explicit Server(ServerConfig config) : config_(std::move(config)) {
    config_.model.on_broken = [this](const absl::Status& status) { OnBroken(status); };
  }

  void SetUpObservers();
  absl::Status StartMetricsServer();
  absl::Status StartGrpcServer();
  absl::StatusOr<std::unique_ptr<ModelHost>> OpenModel();
  void AwaitIdle(absl::Duration timeout);
  MetricsSnapshot Snapshot() const;  // thread-safe; REQUIRES: loaded

  ServerConfig config_;
  mutable std::mutex mutex_;
  absl::Status broken_;  // guarded by mutex_
  std::atomic<bool> hurry_{false};
  std::atomic<bool> draining_{false};

  // In the order in which they borrow from each other.
  Metrics metrics_;
  std::unique_ptr<RequestLog> request_log_;  // null: off
  std::unique_ptr<ContentLog> content_log_;  // null: off
  ObserverList observers_;
  std::atomic<int64_t> listen_nanoseconds_ = 0;  // see StartupTimes; 0 until then
  std::unique_ptr<ModelHost> host_;
  std::unique_ptr<GenerationService> service_;
  std::unique_ptr<GrpcServer> grpc_;
  std::unique_ptr<MetricsServer> metrics_server_;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_SERVER_H_
