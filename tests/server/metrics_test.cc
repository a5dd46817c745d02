#include "server/metrics.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/metrics_server.h"

namespace sieve {
namespace {

using testing::HasSubstr;
using testing::Not;

// What a scrape of 127.0.0.1:port answers, headers and all.
std::string Scrape(int port) {
  const int client = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(client, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
  EXPECT_EQ(write(client, request.data(), request.size()), request.size());
  std::string answer;
  char buffer[4096];
  for (ssize_t n = 0; (n = read(client, buffer, sizeof(buffer))) > 0;) answer.append(buffer, n);
  close(client);
  return answer;
}

class MetricsTest : public testing::Test {
 protected:
  MetricsTest() {
    model_.config.name = "tiny";
    model_.weight_type = "q4_1";
    model_.cache = {.num_layers = 1, .num_kv_heads = 1, .head_dim = 8, .dtype = DType::kF32};
    snapshot_.engine.running_sequences = 2;
    snapshot_.engine.waiting_requests = 3;
    snapshot_.engine.active_pages = 4;
    snapshot_.engine.cached_pages = 5;
    snapshot_.engine.free_pages = 6;
    snapshot_.engine.prompt_tokens_computed = 70;
    snapshot_.engine.prompt_tokens_cached = 80;
    snapshot_.engine.generated_tokens = 90;
    snapshot_.engine.preemptions = 10;
    snapshot_.weight_bytes = 11;
    snapshot_.cache_bytes = 12;
    snapshot_.workspace_bytes = 13;
    server_ = MetricsServer::Start({.host = "127.0.0.1"},
                                   {metrics_.registry(),
                                    MakeSnapshotCollector(&model_, [this] { return snapshot_; })})
                  .value();
  }

  ModelInfo model_;
  MetricsSnapshot snapshot_;
  Metrics metrics_;
  std::unique_ptr<MetricsServer> server_;
};

TEST_F(MetricsTest, GaugesAreReadAtEveryScrape) {
  const std::string text = Scrape(server_->port());
  for (const char* line :
       {"sieve_requests_running 2\n", "sieve_requests_waiting 3\n",
        "sieve_kv_pages{state=\"active\"} 4\n", "sieve_kv_pages{state=\"cached\"} 5\n",
        "sieve_kv_pages{state=\"free\"} 6\n", "sieve_kv_bytes{state=\"active\"} 16384\n",
        "sieve_prompt_tokens_total{source=\"computed\"} 70\n",
        "sieve_prompt_tokens_total{source=\"cached\"} 80\n", "sieve_generated_tokens_total 90\n",
        "sieve_preemptions_total 10\n", "sieve_memory_bytes{purpose=\"weights\"} 11\n",
        "sieve_memory_bytes{purpose=\"kv\"} 12\n", "sieve_memory_bytes{purpose=\"workspace\"} 13\n",
        "# TYPE sieve_generated_tokens_total counter\n", "weight_type=\"q4_1\""}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  snapshot_.engine.active_pages = 0;
  EXPECT_THAT(Scrape(server_->port()), HasSubstr("sieve_kv_pages{state=\"active\"} 0\n"));
}

TEST_F(MetricsTest, RequestsAreCountedByCode) {
  const GenerationRequest request;
  for (const absl::Status& status :
       {absl::OkStatus(), absl::OkStatus(), absl::CancelledError("")}) {
    metrics_.OnEnd({.request = request, .status = status});
  }
  metrics_.OnRefused(absl::InvalidArgumentError(""));
  const std::string text = Scrape(server_->port());
  EXPECT_THAT(text, HasSubstr("sieve_requests_total{code=\"OK\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("sieve_requests_total{code=\"CANCELLED\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("sieve_requests_total{code=\"INVALID_ARGUMENT\"} 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("NOT_FOUND")));
}

TEST_F(MetricsTest, LatenciesAreHistogramsInSeconds) {
  metrics_.OnStep({.forward = absl::Milliseconds(20), .prefill_tokens = 1, .decode_tokens = 2});
  metrics_.OnFirstToken(absl::Milliseconds(300));
  metrics_.OnInterToken(absl::Milliseconds(7));
  const std::string text = Scrape(server_->port());
  EXPECT_THAT(text, HasSubstr("sieve_engine_step_seconds_bucket{le=\"0.01\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("sieve_engine_step_seconds_bucket{le=\"0.025\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("sieve_time_to_first_token_seconds_bucket{le=\"0.25\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("sieve_time_to_first_token_seconds_bucket{le=\"0.5\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("sieve_inter_token_latency_seconds_bucket{le=\"0.005\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("sieve_inter_token_latency_seconds_bucket{le=\"0.01\"} 1\n"));
}

TEST_F(MetricsTest, APortThatIsTakenIsAnErrorThatNamesIt) {
  const ListenAddress taken{.host = "127.0.0.1", .port = server_->port()};
  const absl::Status status = MetricsServer::Start(taken, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(taken.ToString()));
}

}  // namespace
}  // namespace sieve
