#ifndef SIEVE_SERVER_CALLER_H_
#define SIEVE_SERVER_CALLER_H_

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "grpcpp/support/string_ref.h"
#include "server/api_key_file.h"

namespace sieve {

// Who a call comes from.
struct Caller {
  std::string tenant;
  double weight = 1;        // of the tenant
  bool admin = true;        // may load and unload adapters; with keys, where its key says so
  std::string traceparent;  // W3C Trace Context, well-formed, or empty
};

// What callers are held to.
struct CallerRules {
  // Whose an API key is; empty: the server asks for no keys, and callers name their tenant.
  std::function<std::optional<KeyOwner>(absl::string_view key)> find_key;
  // Of tenants without keys; those that are not listed have 1.
  std::map<std::string, double> tenant_weights;
};

// "a=3,b=0.5" as tenant_weights; INVALID_ARGUMENT for names or weights that are none (tenant.h).
absl::StatusOr<std::map<std::string, double>> ParseTenantWeights(absl::string_view text);

// As gRPC gives it; keys are in lower case.
using CallMetadata = std::multimap<grpc::string_ref, grpc::string_ref>;

// Reads who calls from
//   authorization: Bearer KEY, or x-api-key: KEY   when there are keys; their owner is the tenant
//   x-sieve-tenant: NAME                           when there are none; default "default"
//   traceparent: 00-TRACE-PARENT-FLAGS             left out when it is not well-formed
// UNAUTHENTICATED for a key that is missing or not known, INVALID_ARGUMENT for a tenant's name that
// is none.
absl::StatusOr<Caller> ReadCaller(const CallerRules& rules, const CallMetadata& metadata);

}  // namespace sieve

#endif  // SIEVE_SERVER_CALLER_H_
