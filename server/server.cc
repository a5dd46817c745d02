#include "server/server.h"

#include <utility>

#include "absl/time/clock.h"
#include "server/process_collector.h"
#include "server/snapshot_collector.h"

namespace sieve {
namespace {

// A connection that is closed while its client still sends (window updates, as it reads) is reset,
// and what the client has not read by then is lost. Ended streams get this long to be read.
constexpr absl::Duration kLinger = absl::Milliseconds(200);

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerConfig& config) {
  std::unique_ptr<Server> server(new Server());

  absl::StatusOr<std::unique_ptr<ModelHost>> host =
      ModelHost::Open(config.model, &server->metrics_);
  if (!host.ok()) return host.status();
  server->host_ = *std::move(host);
  const ModelHost& model = *server->host_;

  if (config.metrics.has_value()) {
    const auto snapshot = [&model] {
      const MemoryUse memory = model.memory();
      MetricsSnapshot now;
      now.engine = model.engine().stats();
      now.weight_bytes = memory.weights;
      now.cache_bytes = memory.cache;
      now.workspace_bytes = memory.workspace;
      return now;
    };
    absl::StatusOr<std::unique_ptr<MetricsServer>> metrics = MetricsServer::Start(
        *config.metrics, {server->metrics_.registry(),
                          MakeSnapshotCollector(&model.info(), snapshot), MakeProcessCollector()});
    if (!metrics.ok()) return metrics.status();
    server->metrics_server_ = *std::move(metrics);
  }

  server->service_ = std::make_unique<GenerationService>(
      ServiceParts{.engine = &model.engine(),
                   .tokenizer = &model.tokenizer(),
                   .chat_format = model.chat_format(),
                   .model = &model.info(),
                   .on_refused = [metrics = &server->metrics_](const absl::Status& status) {
                     metrics->OnRefused(status);
                   }});
  absl::StatusOr<std::unique_ptr<GrpcServer>> grpc =
      GrpcServer::Start({.address = config.grpc,
                         .credentials = nullptr,
                         .max_request_bytes = model.info().limits.max_request_bytes,
                         .authorize_reflection = nullptr},
                        server->service_.get());
  if (!grpc.ok()) return grpc.status();
  server->grpc_ = *std::move(grpc);
  return server;
}

void Server::Stop(absl::Duration grace) {
  grpc_->SetNotServing();
  host_->engine().Stop();
  service_->AwaitIdle(grace);
  absl::SleepFor(kLinger);
  // Not with a grace of its own: that would wait for idle clients to hang up.
  grpc_->Shutdown(absl::ZeroDuration());
}

}  // namespace sieve
