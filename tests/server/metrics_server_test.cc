#include "server/metrics_server.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/metrics.h"
#include "tests/server/scrape.h"

namespace sieve {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(MetricsServerTest, AnswersWithWhatItWasGivenReadAnew) {
  Metrics metrics;
  const auto server = MetricsServer::Start({.host = "127.0.0.1"}, {metrics.registry()}).value();
  EXPECT_THAT(Scrape(server->port()), HasSubstr("sieve_inter_token_latency_seconds_count 0\n"));
  metrics.OnInterToken(absl::Milliseconds(1));
  const std::string text = Scrape(server->port());
  EXPECT_THAT(text, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(text, HasSubstr("sieve_inter_token_latency_seconds_count 1\n"));
}

TEST(MetricsServerTest, APortThatIsTakenIsAnErrorThatNamesIt) {
  const auto server = MetricsServer::Start({.host = "127.0.0.1"}, {}).value();
  const ListenAddress taken{.host = "127.0.0.1", .port = server->port()};
  const absl::Status status = MetricsServer::Start(taken, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(taken.ToString()));
}

}  // namespace
}  // namespace sieve
