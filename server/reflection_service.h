#ifndef SIEVE_SERVER_REFLECTION_SERVICE_H_
#define SIEVE_SERVER_REFLECTION_SERVICE_H_

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"
#include "grpcpp/server_context.h"

namespace sieve {

// Whether a call may be answered, and with what it is refused.
using AuthorizeCall = std::function<absl::Status(const grpc::CallbackServerContext& context)>;

// Server reflection (grpc.reflection.v1alpha) for callers that may have it. gRPC's own knows no
// such thing, and needs threads of its own for the synchronous API.
class ReflectionService : public grpc::reflection::v1alpha::ServerReflection::CallbackService {
 public:
  // `services` are full names, of files linked into the program.
  ReflectionService(std::vector<std::string> services, AuthorizeCall authorize)
      : services_(std::move(services)), authorize_(std::move(authorize)) {}

  grpc::ServerBidiReactor<grpc::reflection::v1alpha::ServerReflectionRequest,
                          grpc::reflection::v1alpha::ServerReflectionResponse>*
  ServerReflectionInfo(grpc::CallbackServerContext* context) override;

 private:
  const std::vector<std::string> services_;
  const AuthorizeCall authorize_;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_REFLECTION_SERVICE_H_
