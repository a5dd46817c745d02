#ifndef SIEVE_SERVER_GRPC_SERVER_H_
#define SIEVE_SERVER_GRPC_SERVER_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "server/listen_address.h"
#include "server/reflection_service.h"

namespace sieve {

struct GrpcServerOptions {
  ListenAddress address;
  std::shared_ptr<grpc::ServerCredentials> credentials;  // null: neither encryption nor identity
  int32_t max_request_bytes = 0;       // longer messages are answered RESOURCE_EXHAUSTED
  AuthorizeCall authorize_reflection;  // empty: for everybody
};

// A listening gRPC server with one service, the standard health service (SERVING for "" and
// "sieve.v1.Generation", for everybody) and reflection.
class GrpcServer {
 public:
  // `service` is borrowed. UNAVAILABLE when the address cannot be listened on, such as when another
  // server does.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const GrpcServerOptions& options,
                                                           grpc::Service* service);
  ~GrpcServer();  // Shutdown without grace, if it was not called

  int port() const { return port_; }

  // Health checks say NOT_SERVING from now on.
  void SetNotServing();

  // Refuses new calls and waits for those that are open; after `grace` they are cancelled.
  void Shutdown(absl::Duration grace);

 private:
  explicit GrpcServer(const GrpcServerOptions& options);

  // Both are used by server_ until it is gone.
  const std::shared_ptr<grpc::ServerCredentials> credentials_;
  ReflectionService reflection_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_GRPC_SERVER_H_
