#ifndef SIEVE_SERVER_STATUS_MAPPING_H_
#define SIEVE_SERVER_STATUS_MAPPING_H_

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace sieve {

// The one place where an error becomes a gRPC status. Both use the same canonical codes; payloads
// that are protobuf messages become the details of a google.rpc.Status.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace sieve

#endif  // SIEVE_SERVER_STATUS_MAPPING_H_
