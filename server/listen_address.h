#ifndef SIEVE_SERVER_LISTEN_ADDRESS_H_
#define SIEVE_SERVER_LISTEN_ADDRESS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace sieve {

// Where to listen: a numeric IPv4 or IPv6 address and a port, 0 for any free one.
struct ListenAddress {
  std::string host;  // without brackets
  int port = 0;
  bool loopback = false;  // reachable from this machine only

  std::string ToString() const;  // "127.0.0.1:50051", "[::1]:50051"
};

// Takes "HOST:PORT", "[IPV6]:PORT"; "localhost" means 127.0.0.1. Other names are refused: what they
// mean, and so who can connect, is up to the resolver.
absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view text);

}  // namespace sieve

#endif  // SIEVE_SERVER_LISTEN_ADDRESS_H_
