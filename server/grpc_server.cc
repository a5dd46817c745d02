#include "server/grpc_server.h"

#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpc/grpc.h"
#include "grpc/health/v1/health.pb.h"
#include "grpcpp/health_check_service_interface.h"

namespace sieve {
namespace {

constexpr char kServiceName[] = "sieve.v1.Generation";

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

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const GrpcServerOptions& options,
                                                              grpc::Service* service) {
  SetUpLibrary();
  std::unique_ptr<GrpcServer> started(new GrpcServer(options));
  const std::string address = options.address.ToString();
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, started->credentials_, &started->port_);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.SetMaxReceiveMessageSize(options.max_request_bytes);
  builder.RegisterService(service);
  builder.RegisterService(&started->reflection_);
  started->server_ = builder.BuildAndStart();
  if (started->server_ == nullptr || started->port_ == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", address, " for gRPC: is another server using the port?"));
  }
  started->server_->GetHealthCheckService()->SetServingStatus(kServiceName, true);
  return started;
}

GrpcServer::GrpcServer(const GrpcServerOptions& options)
    : credentials_(options.credentials ? options.credentials : grpc::InsecureServerCredentials()),
      reflection_(ServiceNames(), options.authorize_reflection) {}

GrpcServer::~GrpcServer() {
  if (server_) Shutdown(absl::ZeroDuration());
}

void GrpcServer::SetNotServing() { server_->GetHealthCheckService()->Shutdown(); }

void GrpcServer::Shutdown(absl::Duration grace) {
  server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
}

}  // namespace sieve
