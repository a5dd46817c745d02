#include "server/exposure.h"

#include "absl/strings/str_cat.h"

namespace sieve {

absl::Status CheckGrpcExposure(const ListenAddress& address, const Protection& protection) {
  if (address.loopback || protection.tls || protection.insecure) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      address.ToString(),
      " can be reached from other machines, and there is no encryption: give --tls_cert and "
      "--tls_key, or --insecure if plaintext is meant"));
}

absl::Status CheckMetricsExposure(const ListenAddress& address, const Protection& protection) {
  if (address.loopback || protection.metrics_public || protection.insecure) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(address.ToString(),
                   " can be reached from other machines, and metrics have neither encryption nor "
                   "authentication; add --metrics_public if that is meant"));
}

std::vector<std::string> ExposureWarnings(const ListenAddress& grpc,
                                          const std::optional<ListenAddress>& metrics,
                                          const Protection& protection) {
  std::vector<std::string> warnings;
  if (!grpc.loopback && !protection.tls) {
    warnings.push_back(
        absl::StrCat("INSECURE: gRPC on ", grpc.ToString(),
                     " is not encrypted; whoever can see the traffic reads prompts and answers",
                     protection.api_keys ? ", and the API keys" : ""));
  }
  if (!grpc.loopback && !protection.api_keys && !protection.client_certificates) {
    warnings.push_back(
        absl::StrCat("gRPC on ", grpc.ToString(),
                     " asks for neither API keys (--api_keys) nor client certificates "
                     "(--tls_client_ca): whoever reaches it may use it"));
  }
  if (metrics.has_value() && !metrics->loopback) {
    warnings.push_back(absl::StrCat(
        "metrics on ", metrics->ToString(),
        " have neither encryption nor authentication: let only the monitoring reach them"));
  }
  return warnings;
}

}  // namespace sieve
