#include "server/server.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "model/language_model.h"
#include "server/api_keys.h"
#include "server/credentials.h"
#include "server/log/logging.h"
#include "server/process_collector.h"
#include "spdlog/spdlog.h"

namespace sieve {
namespace {

// For streams to deliver what they have when they are ended.
constexpr absl::Duration kStopGrace = absl::Seconds(5);
// The same when somebody is in a hurry.
constexpr absl::Duration kHurriedGrace = absl::Milliseconds(300);
// A connection that is closed while its client still sends (window updates, as it reads) is reset,
// and what the client has not read by then is lost. Ended streams get this long to be read.
constexpr absl::Duration kLinger = absl::Milliseconds(200);

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Listen(ServerConfig config) {
  if (!config.api_keys.empty()) {
    absl::StatusOr<std::unique_ptr<ApiKeys>> keys = ApiKeys::Open(config.api_keys);
    if (!keys.ok()) return keys.status();
    config.callers.find_key = [keys = std::shared_ptr<ApiKeys>(*std::move(keys))](
                                  absl::string_view key) { return keys->Find(key); };
  }
  std::unique_ptr<Server> server(new Server(std::move(config)));
  server->SetUpObservers();
  PhaseTimer timer;
  absl::Status status = server->StartMetricsServer();
  if (status.ok()) status = server->StartGrpcServer();
  if (!status.ok()) return status;
  server->listen_nanoseconds_ = absl::ToInt64Nanoseconds(timer.Next());
  return server;
}

void Server::SetUpObservers() {
  observers_.Add(&metrics_);
  if (const auto logger = RequestLogger(); logger && config_.request_log.enabled) {
    request_log_ = std::make_unique<RequestLog>(config_.request_log.format, logger);
    observers_.Add(request_log_.get());
  }
  if (const auto logger = RequestLogger(); logger && config_.request_log.content) {
    content_log_ = std::make_unique<ContentLog>(config_.request_log.format, logger);
  }
}

absl::Status Server::StartMetricsServer() {
  if (!config_.metrics.has_value()) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<MetricsServer>> metrics =
      MetricsServer::Start(*config_.metrics, {metrics_.registry(), MakeProcessCollector()});
  if (!metrics.ok()) return metrics.status();
  metrics_server_ = *std::move(metrics);
  return absl::OkStatus();
}

absl::Status Server::StartGrpcServer() {
  const Limits& limits = config_.model.limits;
  ServiceConfig service;
  service.callers = config_.callers;
  service.max_open_calls = config_.max_open_calls;
  service.stalled_reader_timeout = limits.stalled_reader_timeout;
  service.on_refused = [this](const RefusedRequest& request) {
    metrics_.OnRefused(request.status);
    if (request_log_) request_log_->OnRefused(request);
  };
  service.content_log = content_log_.get();
  service.adapter_root = config_.model.adapter_root;
  service_ = std::make_unique<GenerationService>(std::move(service));

  GrpcServerOptions grpc;
  grpc.address = config_.grpc;
  if (config_.tls.has_value()) {
    absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> credentials =
        ReloadingTlsCredentials(*config_.tls);
    if (!credentials.ok()) return credentials.status();
    grpc.credentials = *std::move(credentials);
  }
  if (config_.callers.find_key) {
    grpc.authorize_reflection = [this](const grpc::CallbackServerContext& call) {
      return ReadCaller(config_.callers, call.client_metadata()).status();
    };
  }
  grpc.max_request_bytes = limits.max_request_bytes;
  grpc.max_streams_per_connection = limits.max_streams_per_connection;
  grpc.max_connection_age = config_.max_connection_age;
  absl::StatusOr<std::unique_ptr<GrpcServer>> started = GrpcServer::Start(grpc, service_.get());
  if (!started.ok()) return started.status();
  grpc_ = *std::move(started);
  return absl::OkStatus();
}

// All threads that it starts compute. Threads inherit the nice value of the one that makes them,
// and without privileges a thread cannot take its own back: hence one for this alone.
absl::StatusOr<std::unique_ptr<ModelHost>> Server::OpenModel() {
  absl::StatusOr<std::unique_ptr<ModelHost>> host;
  std::thread opening([this, &host] {
    const id_t self = static_cast<id_t>(gettid());
    const int nice = getpriority(PRIO_PROCESS, self) + config_.compute_nice;
    if (setpriority(PRIO_PROCESS, self, nice) != 0) {
      spdlog::warn("cannot set the nice value of the computing threads to {}", nice);
    }
    host = ModelHost::Open(config_.model, &observers_);
  });
  opening.join();
  return host;
}

absl::Status Server::Load() {
  absl::StatusOr<std::unique_ptr<ModelHost>> host = OpenModel();
  if (!host.ok()) return host.status();
  host_ = *std::move(host);
  const ModelHost& model = *host_;
  if (metrics_server_ != nullptr) {
    metrics_server_->Add(MakeSnapshotCollector(&model.info(), [this] { return Snapshot(); }));
  }
  service_->Serve(ServiceParts{.engine = &model.engine(),
                               .tokenizer = &model.tokenizer(),
                               .chat_format = model.chat_format(),
                               .model = &model.info(),
                               .adapters = &model.adapters()});
  grpc_->SetServing(true);
  return absl::OkStatus();
}

MetricsSnapshot Server::Snapshot() const {
  const MemoryUse memory = host_->memory();
  MetricsSnapshot now;
  now.engine = host_->engine().stats();
  now.memory_device = memory.device;
  now.weight_bytes = memory.weights;
  now.cache_bytes = memory.cache;
  now.workspace_bytes = memory.workspace;
  now.adapter_bytes = memory.adapters;
  now.log_lines_dropped = LogLinesDropped();
  now.draining = draining_;
  now.adapters = host_->adapters().List();
  now.max_adapters = kAdapterSlots;
  now.startup = host_->startup();
  now.startup.listen = absl::Nanoseconds(listen_nanoseconds_.load());
  return now;
}

void Server::OnBroken(const absl::Status& status) {
  spdlog::error("the device failed, and the server ends: {}", std::string(status.message()));
  {
    std::lock_guard lock(mutex_);
    broken_ = status;
  }
  grpc_->SetServing(false);
  if (config_.on_broken) config_.on_broken();
}

absl::Status Server::broken() const {
  std::lock_guard lock(mutex_);
  return broken_;
}

void Server::Drain(absl::Duration grace) {
  draining_.store(true);
  grpc_->SetServing(false);
  service_->Drain();
  host_->engine().Drain();
  AwaitIdle(grace);
  host_->engine().Stop();
  AwaitIdle(kStopGrace);
  if (hurry_.load()) service_->AwaitIdle(kHurriedGrace);
  absl::SleepFor(kLinger);
  // Not with a grace of its own: that would wait for idle clients to hang up.
  grpc_->Shutdown(absl::ZeroDuration());
}

// Until no call is open, somebody is in a hurry, or the time is up.
void Server::AwaitIdle(absl::Duration timeout) {
  constexpr absl::Duration kLook = absl::Milliseconds(20);
  const absl::Time end = absl::Now() + timeout;
  while (!hurry_.load()) {
    const absl::Duration left = std::max(end - absl::Now(), absl::ZeroDuration());
    if (service_->AwaitIdle(std::min(left, kLook)) || left == absl::ZeroDuration()) return;
  }
}

}  // namespace sieve
