#ifndef SIEVE_CLIENT_BENCH_REFUSAL_REASON_H_
#define SIEVE_CLIENT_BENCH_REFUSAL_REASON_H_

#include <string>

#include "grpcpp/support/status.h"

namespace sieve {

// The `reason` of the google.rpc.ErrorInfo among the status's details; empty when there is none.
std::string RefusalReason(const grpc::Status& status);

}  // namespace sieve

#endif  // SIEVE_CLIENT_BENCH_REFUSAL_REASON_H_
