#include "server/grpc_server.h"

#include <chrono>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "gtest/gtest.h"
#include "tests/server/fake_engine.h"
#include "tests/server/service_harness.h"

namespace sieve {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using testing::HasSubstr;

class GrpcServerTest : public testing::Test {
 protected:
  HealthCheckResponse::ServingStatus Health(const std::string& service) const {
    grpc::ClientContext context;
    HealthCheckRequest request;
    request.set_service(service);
    HealthCheckResponse response;
    const auto stub = Health::NewStub(harness_.NewChannel());
    EXPECT_TRUE(stub->Check(&context, request, &response).ok());
    return response.status();
  }

  FakeEngine engine_;
  const ServiceHarness harness_{&engine_, TestModel(100)};
};

TEST_F(GrpcServerTest, ASecondServerOnTheSamePortIsAnErrorThatNamesIt) {
  grpc::Service service;
  const ListenAddress taken{.host = "127.0.0.1", .port = harness_.server().port()};
  const auto second = GrpcServer::Start({.address = taken,
                                         .credentials = nullptr,
                                         .max_request_bytes = 1 << 20,
                                         .authorize_reflection = nullptr},
                                        &service);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(taken.ToString()));
  // The first one goes on.
  grpc::ClientContext context;
  v1::GetModelResponse response;
  EXPECT_TRUE(harness_.client().GetModel(&context, {}, &response).ok());
}

TEST_F(GrpcServerTest, HealthFollowsTheServer) {
  EXPECT_EQ(Health(""), HealthCheckResponse::SERVING);
  EXPECT_EQ(Health("sieve.v1.Generation"), HealthCheckResponse::SERVING);
  harness_.server().SetServing(false);
  EXPECT_EQ(Health(""), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(Health("sieve.v1.Generation"), HealthCheckResponse::NOT_SERVING);
}

TEST_F(GrpcServerTest, ShutdownCutsWhatIsOpenAfterItsGrace) {
  grpc::ClientContext context;
  const auto stream = harness_.client().Generate(&context, TextRequest("hi"));
  const FakeEngine::Submitted submitted = engine_.Take();
  harness_.server().Shutdown(absl::Milliseconds(10));
  EXPECT_FALSE(stream->Finish().ok());
  EXPECT_TRUE(submitted.queue->cancelled());
}

TEST_F(GrpcServerTest, OpenCallsGoOnDuringTheGrace) {
  grpc::ClientContext context;
  const auto stream = harness_.client().Generate(&context, TextRequest("hi"));
  const FakeEngine::Submitted submitted = engine_.Take();
  std::thread shutdown([&] { harness_.server().Shutdown(absl::Seconds(60)); });
  for (int i = 0; i < 100; ++i) {
    DeltaEvent delta;
    delta.text = absl::StrCat(i);
    submitted.queue->Push(delta);
    v1::GenerateEvent event;
    ASSERT_TRUE(stream->Read(&event));
    EXPECT_EQ(event.delta().text(), delta.text);
  }
  submitted.queue->Push(EndEvent{});
  stream->Finish();
  shutdown.join();
}

}  // namespace
}  // namespace sieve
