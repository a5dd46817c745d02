#include "server/listen_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace sieve {

std::string ListenAddress::ToString() const {
  const bool ipv6 = host.find(':') != std::string::npos;
  return ipv6 ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view text) {
  const absl::Status invalid = absl::InvalidArgumentError(absl::StrCat(
      "\"", text,
      "\" is not an address to listen on; expected ADDRESS:PORT with a numeric IPv4 or "
      "[IPv6] address (or localhost) and a port from 0 to 65535"));
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) return invalid;
  absl::string_view host = text.substr(0, colon);
  const bool bracketed = absl::ConsumePrefix(&host, "[") && absl::ConsumeSuffix(&host, "]");

  ListenAddress address;
  address.host = host == "localhost" ? "127.0.0.1" : std::string(host);
  const absl::string_view port = text.substr(colon + 1);
  const bool digits = port.find_first_not_of("0123456789") == absl::string_view::npos;
  if (!digits || !absl::SimpleAtoi(port, &address.port) || address.port > 65535) return invalid;

  in_addr ipv4;
  in6_addr ipv6;
  if (bracketed && inet_pton(AF_INET6, address.host.c_str(), &ipv6) == 1) {
    address.loopback = IN6_IS_ADDR_LOOPBACK(&ipv6);
  } else if (!bracketed && inet_pton(AF_INET, address.host.c_str(), &ipv4) == 1) {
    address.loopback = (ntohl(ipv4.s_addr) >> 24) == 127;
  } else {
    return invalid;
  }
  return address;
}

}  // namespace sieve
