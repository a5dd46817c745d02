#include "server/listen_address.h"

#include "gtest/gtest.h"

namespace sieve {
namespace {

TEST(ListenAddressTest, TakesNumericAddresses) {
  struct Case {
    std::string text, host, printed;
    int port;
    bool loopback;
  };
  for (const Case& c :
       std::vector<Case>{{"127.0.0.1:50051", "127.0.0.1", "127.0.0.1:50051", 50051, true},
                         {"127.255.0.9:0", "127.255.0.9", "127.255.0.9:0", 0, true},
                         {"localhost:65535", "127.0.0.1", "127.0.0.1:65535", 65535, true},
                         {"[::1]:80", "::1", "[::1]:80", 80, true},
                         {"0.0.0.0:1", "0.0.0.0", "0.0.0.0:1", 1, false},
                         {"128.0.0.1:1", "128.0.0.1", "128.0.0.1:1", 1, false},
                         {"[::]:1", "::", "[::]:1", 1, false},
                         {"[fe80::1]:1", "fe80::1", "[fe80::1]:1", 1, false}}) {
    SCOPED_TRACE(c.text);
    const absl::StatusOr<ListenAddress> address = ParseListenAddress(c.text);
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(address->host, c.host);
    EXPECT_EQ(address->port, c.port);
    EXPECT_EQ(address->loopback, c.loopback);
    EXPECT_EQ(address->ToString(), c.printed);
  }
}

TEST(ListenAddressTest, RefusesTheRestAndQuotesIt) {
  for (const std::string text :
       {"", ":", "50051", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
        "127.0.0.1:+1", "127.0.0.1: 1", "127.0.0.1:1x", "127.0.0.1:99999999999", "127.0.0:1",
        "256.0.0.1:1", "::1:80", "[127.0.0.1]:80", "[::1]", "[::1:80", "example.org:80", ":80"}) {
    SCOPED_TRACE(text);
    const absl::Status status = ParseListenAddress(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("\"" + text + "\""), absl::string_view::npos);
  }
}

}  // namespace
}  // namespace sieve
