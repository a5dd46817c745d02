// The whole server in this process: loading while it listens, draining.

#include "server/server.h"

#include <unistd.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "gtest/gtest.h"
#include "sieve/v1/generation.grpc.pb.h"
#include "tests/server/scrape.h"
#include "tests/server/tsan_suppressions.h"
#include "tests/testdata/tiny_llama.h"

namespace sieve {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using testing::HasSubstr;

// Holds up whoever waits until it is opened.
class Latch {
 public:
  void Open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    opened_.notify_all();
  }
  void Await() {
    std::unique_lock lock(mutex_);
    opened_.wait(lock, [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  bool open_ = false;  // guarded by mutex_
};

class ServerTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    model_ = absl::StrCat(testing::TempDir(), "/served", getpid(), ".gguf");
    ASSERT_TRUE(WriteTinyGguf(model_, TinyLlamaSpec{}).ok());
  }

  static ServerConfig Config() {
    ServerConfig config;
    config.model.path = model_;
    config.model.cache_bytes = 8 << 20;
    config.model.num_threads = 1;
    config.grpc = {.host = "127.0.0.1"};
    config.metrics = ListenAddress{.host = "127.0.0.1"};
    return config;
  }

  void Listen(ServerConfig config) {
    server_ = Server::Listen(std::move(config)).value();
    channel_ = grpc::CreateChannel(absl::StrCat("127.0.0.1:", server_->grpc_port()),
                                   grpc::InsecureChannelCredentials());
    client_ = v1::Generation::NewStub(channel_);
    health_ = grpc::health::v1::Health::NewStub(channel_);
  }

  HealthCheckResponse::ServingStatus Health(const std::string& service) {
    grpc::ClientContext context;
    HealthCheckRequest request;
    request.set_service(service);
    HealthCheckResponse response;
    EXPECT_TRUE(health_->Check(&context, request, &response).ok());
    return response.status();
  }

  grpc::Status Generate(int32_t tokens) {
    v1::GenerateRequest request;
    request.mutable_text()->set_text("hello");
    request.mutable_stop()->set_max_tokens(tokens);
    request.mutable_stop()->set_ignore_eos(true);
    v1::GenerateResponse response;
    grpc::ClientContext context;
    return client_->GenerateOnce(&context, request, &response);
  }

  static std::string model_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Generation::Stub> client_;
  std::unique_ptr<grpc::health::v1::Health::Stub> health_;
};

std::string ServerTest::model_;

TEST_F(ServerTest, ListensWhileTheModelIsBeingLoaded) {
  Latch disk;
  ServerConfig config = Config();
  config.model.on_load = [&disk] {
    disk.Await();
    return absl::OkStatus();
  };
  Listen(std::move(config));
  std::thread loading([this] { EXPECT_TRUE(server_->Load().ok()); });

  for (const char* service : {"", "sieve.v1.Generation"}) {
    EXPECT_EQ(Health(service), HealthCheckResponse::NOT_SERVING);
  }
  const grpc::Status status = Generate(1);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("loaded"));
  EXPECT_THAT(Scrape(server_->metrics_port()), HasSubstr("process_start_time_seconds"));

  grpc::ClientContext watching;
  const auto watch = health_->Watch(&watching, HealthCheckRequest());
  HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  disk.Open();
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  loading.join();
  EXPECT_TRUE(Generate(1).ok());
  EXPECT_THAT(Scrape(server_->metrics_port()), HasSubstr("sieve_kv_pages"));

  server_->Drain(absl::Seconds(10));  // health watchers are told
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
}

// What the engine does when no step can succeed any more: balancers look elsewhere at once, and the
// process, which is told, ends.
TEST_F(ServerTest, ALostDeviceIsToldToAll) {
  int calls = 0;
  ServerConfig config = Config();
  config.on_broken = [&calls] { ++calls; };
  Listen(std::move(config));
  ASSERT_TRUE(server_->Load().ok());
  EXPECT_EQ(Health(""), HealthCheckResponse::SERVING);
  EXPECT_TRUE(server_->broken().ok());
  server_->OnBroken(absl::InternalError("an illegal address"));
  EXPECT_EQ(Health(""), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(server_->broken(), absl::InternalError("an illegal address"));
  EXPECT_EQ(calls, 1);
  server_->Drain(absl::ZeroDuration());
}

TEST_F(ServerTest, LoadingThatFailsIsAnError) {
  ServerConfig config = Config();
  config.model.on_load = [] { return absl::UnavailableError("the disk is gone"); };
  Listen(std::move(config));
  EXPECT_EQ(server_->Load().message(), "the disk is gone");
  EXPECT_EQ(Health(""), HealthCheckResponse::NOT_SERVING);
}

TEST_F(ServerTest, GetModelTellsTheLimitsInForce) {
  ServerConfig config = Config();
  config.model.limits.max_queued_requests = 7;
  config.model.limits.max_prompt_tokens = 100;
  config.model.limits.max_streams_per_connection = 5;
  config.model.limits.stalled_reader_timeout = absl::Milliseconds(1500);
  Listen(std::move(config));
  ASSERT_TRUE(server_->Load().ok());
  v1::GetModelResponse model;
  grpc::ClientContext context;
  ASSERT_TRUE(client_->GetModel(&context, {}, &model).ok());
  const v1::Limits& limits = model.limits();
  EXPECT_EQ(limits.max_queued_requests(), 7);
  EXPECT_EQ(limits.max_prompt_tokens(), 100);
  EXPECT_EQ(limits.max_queued_prompt_tokens(), 700) << "what the queue can hold";
  EXPECT_EQ(limits.max_running_sequences(), 64);
  EXPECT_EQ(limits.max_request_cache_bytes(),
            model.cache().total_pages() * model.cache().bytes_per_page());
  EXPECT_EQ(limits.max_streams_per_connection(), 5);
  EXPECT_EQ(limits.stalled_reader_timeout().seconds(), 1);
  EXPECT_EQ(limits.stalled_reader_timeout().nanos(), 500'000'000);
}

TEST_F(ServerTest, DrainingRefusesNewRequestsWhileAnOpenStreamFinishes) {
  Listen(Config());
  ASSERT_TRUE(server_->Load().ok());
  v1::GenerateRequest request;
  request.mutable_text()->set_text("hello");
  request.mutable_stop()->set_max_tokens(600);
  request.mutable_stop()->set_ignore_eos(true);
  grpc::ClientContext context;
  const auto stream = client_->Generate(&context, request);
  v1::GenerateEvent event;
  ASSERT_TRUE(stream->Read(&event));
  std::thread draining([this] { server_->Drain(absl::Minutes(10)); });
  while (Health("") == HealthCheckResponse::SERVING) absl::SleepFor(absl::Milliseconds(1));
  int tokens = 0;
  while (stream->Read(&event)) tokens += event.delta().token_ids_size();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(tokens, 600);
  draining.join();
  EXPECT_FALSE(Generate(1).ok());
}

}  // namespace
}  // namespace sieve
