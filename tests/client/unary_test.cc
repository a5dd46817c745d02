#include "client/info.h"
#include "client/tokenize.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/fake_server.h"

namespace sieve {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

TEST(TokenizeTest, PrintsIdsAndBytes) {
  FakeServer server;
  v1::TokenizeRequest request;
  request.mutable_text()->set_text("a\t\xFF");
  EXPECT_EQ(RunTokenize(server.MakeSession(), request), ExitCode::kOk);
  EXPECT_EQ(server.out.str(), "97\t\"a\"\n9\t\"\\t\"\n255\t\"\xFF\"\n");
}

TEST(TokenizeTest, Json) {
  FakeServer server;
  v1::TokenizeRequest request;
  request.mutable_text()->set_text("ab");
  Session session = server.MakeSession();
  session.json = true;
  EXPECT_EQ(RunTokenize(session, request), ExitCode::kOk);
  EXPECT_EQ(json::parse(server.out.str())["token_ids"], json({97, 98}));
}

TEST(DetokenizeTest, PrintsTextOrTheError) {
  FakeServer server;
  v1::DetokenizeRequest request;
  request.add_token_ids('h');
  request.add_token_ids('i');
  EXPECT_EQ(RunDetokenize(server.MakeSession(), request), ExitCode::kOk);
  EXPECT_EQ(server.out.str(), "hi\n");
  request.add_token_ids(1000);
  EXPECT_EQ(RunDetokenize(server.MakeSession(), request), ExitCode::kRequestFailed);
  EXPECT_THAT(server.err.str(), HasSubstr("INVALID_ARGUMENT: token_ids"));
}

TEST(InfoTest, PrintsWhatMatters) {
  FakeServer server;
  v1::GetModelResponse model;
  model.set_name("tiny");
  model.mutable_shape()->set_num_layers(30);
  model.mutable_cache()->set_total_pages(12);
  model.mutable_cache()->set_free_pages(5);
  server.generation.set_model(model);
  EXPECT_EQ(RunInfo(server.MakeSession()), ExitCode::kOk);
  EXPECT_THAT(server.out.str(), HasSubstr("tiny"));
  EXPECT_THAT(server.out.str(), HasSubstr("30 layers"));
  EXPECT_THAT(server.out.str(), HasSubstr("12 pages"));
  EXPECT_THAT(server.out.str(), HasSubstr("5 free"));
  EXPECT_THAT(server.out.str(), HasSubstr("none: send plain prompts"));

  server.out.str("");
  Session session = server.MakeSession();
  session.json = true;
  EXPECT_EQ(RunInfo(session), ExitCode::kOk);
  EXPECT_EQ(json::parse(server.out.str())["shape"]["num_layers"], 30);
}

TEST(HealthTest, OnlyServingIsHealthy) {
  FakeServer server;
  EXPECT_EQ(RunHealth(server.MakeSession()), ExitCode::kOk);
  EXPECT_EQ(server.out.str(), "SERVING\n");
  server.health.status = grpc::health::v1::HealthCheckResponse::NOT_SERVING;
  EXPECT_EQ(RunHealth(server.MakeSession()), ExitCode::kUnavailable);
  server.Stop();
  EXPECT_EQ(RunHealth(server.MakeSession()), ExitCode::kUnavailable);
}

}  // namespace
}  // namespace sieve
