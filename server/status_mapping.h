#ifndef SIEVE_SERVER_STATUS_MAPPING_H_
#define SIEVE_SERVER_STATUS_MAPPING_H_

#include <string>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace sieve {

// The one place where an error becomes a gRPC status. Both use the same canonical codes.
inline grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

}  // namespace sieve

#endif  // SIEVE_SERVER_STATUS_MAPPING_H_
