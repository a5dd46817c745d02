#include "server/grpc_server.h"

#include <algorithm>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpc/grpc.h"
#include "grpc/health/v1/health.pb.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/resource_quota.h"

namespace sieve {
namespace {

constexpr char kServiceName[] = "sieve.v1.Generation";

constexpr int kMetadataBytes = 16 << 10;  // of one call
constexpr int kPingEveryMs = 60'000;
constexpr int kPingTimeoutMs = 20'000;
constexpr int kLeastPingIntervalMs = 10'000;

// What gRPC keeps for the whole process. Its own shutdown, when the last server and channel are
// gone, now and then waits ten seconds and more for an idle poller of its own: it stays up until
// the process ends.
void SetUpLibrary() {
  static std::once_flag once;
  std::call_once(once, [] {
    grpc_init();
    grpc::EnableDefaultHealthCheckService(true);
  });
}

std::vector<std::string> ServiceNames() {
  // Naming a message links the file that describes the health service, which gRPC itself lacks.
  const std::string package = grpc::health::v1::HealthCheckRequest::descriptor()->file()->package();
  return {kServiceName, package + ".Health",
          grpc::reflection::v1alpha::ServerReflection::service_full_name()};
}

// What one client, and all of them together, may make the server hold.
void SetBounds(const GrpcServerOptions& options, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(options.max_request_bytes);
  // gRPC receives a message to its end before it looks at its size; this bounds what all of them
  // take until then.
  grpc::ResourceQuota quota("grpc");
  quota.Resize(std::max<int64_t>(options.receive_bytes, int64_t{4} * options.max_request_bytes));
  builder->SetResourceQuota(quota);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams_per_connection);
  if (options.max_connection_age != absl::InfiniteDuration()) {
    builder->AddChannelArgument(
        GRPC_ARG_MAX_CONNECTION_AGE_MS,
        static_cast<int>(absl::ToInt64Milliseconds(options.max_connection_age)));
  }
  builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMetadataBytes);
  // A peer that vanished is found by a ping that it does not answer.
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kPingEveryMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingTimeoutMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // of ours: no limit
  // One that pings more often than this a few times is sent away.
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              kLeastPingIntervalMs);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2);
}

// A compressed message is inflated whole before its size is looked at: a megabyte can become a
// gigabyte. Calls with one are answered UNIMPLEMENTED.
void RefuseCompression(grpc::ServerBuilder* builder) {
  for (const grpc_compression_algorithm algorithm : {GRPC_COMPRESS_DEFLATE, GRPC_COMPRESS_GZIP}) {
    builder->SetCompressionAlgorithmSupportStatus(algorithm, false);
  }
  builder->AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
}

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const GrpcServerOptions& options,
                                                              grpc::Service* service) {
  SetUpLibrary();
  std::unique_ptr<GrpcServer> started(new GrpcServer(options));
  const std::string address = options.address.ToString();
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, started->credentials_, &started->port_);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  SetBounds(options, &builder);
  RefuseCompression(&builder);
  builder.RegisterService(service);
  builder.RegisterService(&started->reflection_);
  started->server_ = builder.BuildAndStart();
  if (started->server_ == nullptr || started->port_ == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", address, " for gRPC: is another server using the port?"));
  }
  started->SetServing(false);
  return started;
}

GrpcServer::GrpcServer(const GrpcServerOptions& options)
    : credentials_(options.credentials ? options.credentials : grpc::InsecureServerCredentials()),
      reflection_(ServiceNames(), options.authorize_reflection) {}

GrpcServer::~GrpcServer() {
  if (server_) Shutdown(absl::ZeroDuration());
}

void GrpcServer::SetServing(bool serving) {
  grpc::HealthCheckServiceInterface* const health = server_->GetHealthCheckService();
  health->SetServingStatus("", serving);
  health->SetServingStatus(kServiceName, serving);
}

void GrpcServer::Shutdown(absl::Duration grace) {
  server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
}

}  // namespace sieve
