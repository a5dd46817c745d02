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
  // Null: neither encryption nor identity.
  std::shared_ptr<grpc::ServerCredentials> credentials = nullptr;
  int32_t max_request_bytes = 4 << 20;           // longer messages are answered RESOURCE_EXHAUSTED
  AuthorizeCall authorize_reflection = nullptr;  // empty: for everybody
  int32_t max_streams_per_connection = 1024;
  // Then a client is asked to connect again (its running calls go on), and so sees servers that are
  // new under the name. Some of the time is left to chance, so that not all come at once.
  absl::Duration max_connection_age = absl::InfiniteDuration();
  // For what is received on all connections together and not yet handed to a call; not less than
  // four of the largest messages are.
  int64_t receive_bytes = int64_t{256} << 20;
};

// A listening gRPC server with one service, the standard health service (for "" and
// "sieve.v1.Generation", open to everybody) and reflection.
class GrpcServer {
 public:
  // `service` is borrowed. UNAVAILABLE when the address cannot be listened on, such as when another
  // server does.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const GrpcServerOptions& options,
                                                           grpc::Service* service);
  ~GrpcServer();  // Shutdown without grace, if it was not called

  int port() const { return port_; }

  // What health checks say; NOT_SERVING at first. Those that watch are told.
  void SetServing(bool serving);

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
