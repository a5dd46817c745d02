#include "server/server.h"

#include <utility>

#include "absl/time/clock.h"
#include "server/logging.h"
#include "server/process_collector.h"

namespace sieve {
namespace {

// A connection that is closed while its client still sends (window updates, as it reads) is reset,
// and what the client has not read by then is lost. Ended streams get this long to be read.
constexpr absl::Duration kLinger = absl::Milliseconds(200);

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerConfig& config) {
  std::unique_ptr<Server> server(new Server());

  server->observers_.Add(&server->metrics_);
  if (const auto logger = RequestLogger(); logger && config.request_log.enabled) {
    server->request_log_ = std::make_unique<RequestLog>(config.request_log.format, logger);
    server->observers_.Add(server->request_log_.get());
  }
  absl::StatusOr<std::unique_ptr<ModelHost>> host =
      ModelHost::Open(config.model, &server->observers_);
  if (!host.ok()) return host.status();
  server->host_ = *std::move(host);
  const ModelHost& model = *server->host_;

  PhaseTimer timer;
  if (config.metrics.has_value()) {
    const auto snapshot = [s = server.get()] { return s->Snapshot(); };
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
                   .on_refused = [s = server.get()](const absl::Status& status) {
                     s->metrics_.OnRefused(status);
                     if (s->request_log_) s->request_log_->OnRefused({.status = status});
                   }});
  absl::StatusOr<std::unique_ptr<GrpcServer>> grpc =
      GrpcServer::Start({.address = config.grpc,
                         .credentials = nullptr,
                         .max_request_bytes = model.info().limits.max_request_bytes,
                         .authorize_reflection = nullptr},
                        server->service_.get());
  if (!grpc.ok()) return grpc.status();
  server->grpc_ = *std::move(grpc);
  server->listen_nanoseconds_ = absl::ToInt64Nanoseconds(timer.Next());
  return server;
}

MetricsSnapshot Server::Snapshot() const {
  const MemoryUse memory = host_->memory();
  MetricsSnapshot now;
  now.engine = host_->engine().stats();
  now.weight_bytes = memory.weights;
  now.cache_bytes = memory.cache;
  now.workspace_bytes = memory.workspace;
  now.log_lines_dropped = LogLinesDropped();
  now.draining = draining_;
  now.startup = host_->startup();
  now.startup.listen = absl::Nanoseconds(listen_nanoseconds_.load());
  return now;
}

void Server::Stop(absl::Duration grace) {
  draining_ = true;
  grpc_->SetNotServing();
  host_->engine().Stop();
  service_->AwaitIdle(grace);
  absl::SleepFor(kLinger);
  // Not with a grace of its own: that would wait for idle clients to hang up.
  grpc_->Shutdown(absl::ZeroDuration());
}

}  // namespace sieve
