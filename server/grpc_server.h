#ifndef SIEVE_SERVER_GRPC_SERVER_H_
#define SIEVE_SERVER_GRPC_SERVER_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "server/listen_address.h"

namespace sieve {

// A listening gRPC server with one service, the standard health service (SERVING for "" and
// "sieve.v1.Generation") and reflection.
class GrpcServer {
 public:
  // `service` is borrowed. Messages of more than `max_request_bytes` are answered
  // RESOURCE_EXHAUSTED. UNAVAILABLE when the address cannot be listened on, such as when another
  // server does.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const ListenAddress& address,
                                                           int32_t max_request_bytes,
                                                           grpc::Service* service);
  ~GrpcServer();  // Shutdown without grace, if it was not called

  int port() const { return port_; }

  // Health checks say NOT_SERVING from now on.
  void SetNotServing();

  // Refuses new calls and waits for those that are open; after `grace` they are cancelled.
  void Shutdown(absl::Duration grace);

 private:
  GrpcServer(std::unique_ptr<grpc::Server> server, int port);

  const std::unique_ptr<grpc::Server> server_;
  const int port_;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_GRPC_SERVER_H_
