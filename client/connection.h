#ifndef SIEVE_CLIENT_CONNECTION_H_
#define SIEVE_CLIENT_CONNECTION_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/flags.h"
#include "grpcpp/channel.h"
#include "grpcpp/support/channel_arguments.h"

namespace sieve {

// How to reach a server and who asks.
struct ConnectionOptions {
  std::string address;

  bool tls = false;                        // any of the following implies it
  std::optional<std::string> tls_ca;       // PEM file of roots; absent: the system's
  std::optional<std::string> tls_cert;     // PEM files of the client's own certificate
  std::optional<std::string> tls_key;      // and its private key
  std::optional<std::string> server_name;  // that the server's certificate must have

  std::optional<std::string> api_key;       // from the environment
  std::optional<std::string> api_key_file;  // goes before it
  std::optional<std::string> tenant;
};

// All but the address and the key itself.
void AddConnectionFlags(FlagSet* flags, ConnectionOptions* options);

// A channel whose every call carries the key and the tenant. INVALID_ARGUMENT, for people, when
// flags contradict each other or a file cannot be used.
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const ConnectionOptions& options,
                                                           grpc::ChannelArguments arguments = {});

// Whether an API key would go over the network in clear.
bool ExposesKey(const ConnectionOptions& options);

}  // namespace sieve

#endif  // SIEVE_CLIENT_CONNECTION_H_
