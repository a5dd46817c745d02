#ifndef SIEVE_SERVER_STATUS_MAPPING_H_
#define SIEVE_SERVER_STATUS_MAPPING_H_

#include "absl/status/status.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"

namespace sieve {

// The one place where an error becomes a gRPC status. Both use the same canonical codes; payloads
// that are protobuf messages become the details of a google.rpc.Status.
grpc::Status ToGrpcStatus(const absl::Status& status);

// The same, as what a call ends with: where the status says when to try again, so does the call's
// trailing metadata, for clients with a retry policy. Before the call is finished.
grpc::Status EndOfCall(grpc::ServerContextBase* call, const absl::Status& status);

}  // namespace sieve

#endif  // SIEVE_SERVER_STATUS_MAPPING_H_
