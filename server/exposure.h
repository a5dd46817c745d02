#ifndef SIEVE_SERVER_EXPOSURE_H_
#define SIEVE_SERVER_EXPOSURE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/listen_address.h"

namespace sieve {

// What stands between the network and the ports.
struct Protection {
  bool tls = false;
  bool client_certificates = false;  // required
  bool api_keys = false;
  bool insecure = false;        // the operator says: without TLS too
  bool metrics_public = false;  // the operator says: metrics, which have neither TLS nor keys
};

// Whether gRPC, or metrics, may listen there: on addresses of this machine only, unless there is
// TLS or the operator says so. INVALID_ARGUMENT with what to do.
absl::Status CheckGrpcExposure(const ListenAddress& address, const Protection& protection);
absl::Status CheckMetricsExposure(const ListenAddress& address, const Protection& protection);

// What an operator should know of a server that other machines reach; for the log.
std::vector<std::string> ExposureWarnings(const ListenAddress& grpc,
                                          const std::optional<ListenAddress>& metrics,
                                          const Protection& protection);

}  // namespace sieve

#endif  // SIEVE_SERVER_EXPOSURE_H_
