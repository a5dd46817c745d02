// The service at its door: who may call, what is refused and how, before the engine sees anything.

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "google/rpc/errors.pb.h"
#include "gtest/gtest.h"
#include "server/refusal.h"
#include "tests/server/fake_engine.h"
#include "tests/server/raw_http2.h"
#include "tests/server/service_harness.h"

namespace sieve {
namespace {

using testing::HasSubstr;

// A call of each method; the answer is thrown away.
using CallMethod = std::function<grpc::Status(v1::Generation::Stub*, grpc::ClientContext*)>;
std::vector<std::pair<std::string, CallMethod>> AllMethods() {
  using Stub = v1::Generation::Stub;
  using Context = grpc::ClientContext;
  return {{"Generate",
           [](Stub* stub, Context* context) {
             return ReadAll(*stub->Generate(context, TextRequest("hi"))).status;
           }},
          {"GenerateOnce",
           [](Stub* stub, Context* context) {
             v1::GenerateResponse response;
             return stub->GenerateOnce(context, TextRequest("hi"), &response);
           }},
          {"EstimateCost",
           [](Stub* stub, Context* context) {
             v1::EstimateCostResponse response;
             return stub->EstimateCost(context, TextRequest("hi"), &response);
           }},
          {"Tokenize",
           [](Stub* stub, Context* context) {
             v1::TokenizeRequest request;
             request.mutable_text()->set_text("hi");
             v1::TokenizeResponse response;
             return stub->Tokenize(context, request, &response);
           }},
          {"Detokenize",
           [](Stub* stub, Context* context) {
             v1::DetokenizeResponse response;
             return stub->Detokenize(context, {}, &response);
           }},
          {"GetModel", [](Stub* stub, Context* context) {
             v1::GetModelResponse response;
             return stub->GetModel(context, {}, &response);
           }}};
}

google::rpc::Status DetailsOf(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  return details;
}

// The detail of this type, default if there is none.
template <typename Detail>
Detail DetailOf(const grpc::Status& status) {
  Detail detail;
  const google::rpc::Status details = DetailsOf(status);
  for (const auto& any : details.details()) {
    if (any.Is<Detail>()) any.UnpackTo(&detail);
  }
  return detail;
}

std::string Trailer(const grpc::ClientContext& context, const std::string& key) {
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto found = trailers.find(key);
  return found == trailers.end() ? "" : std::string(found->second.data(), found->second.size());
}

class AdmissionTest : public testing::Test {
 protected:
  void Start(HarnessOptions options = {}, bool loaded = true) {
    service_ = std::make_unique<ServiceHarness>(loaded ? &engine_ : nullptr, TestModel(1000),
                                                std::move(options));
  }

  v1::Generation::Stub& client() const { return service_->client(); }

  FakeEngine engine_;
  std::unique_ptr<ServiceHarness> service_;
};

TEST_F(AdmissionTest, ARefusalTellsWhenToTryAgain) {
  Start();
  engine_.set_refusal(Refusal(absl::ResourceExhaustedError("full"), RefusalReason::kQueueFull,
                              absl::Microseconds(2500'500)));
  for (const auto& [name, call] : AllMethods()) {
    if (name != "Generate" && name != "GenerateOnce") continue;
    SCOPED_TRACE(name);
    grpc::ClientContext context;
    const grpc::Status status = call(&client(), &context);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_EQ(status.error_message(), "full");
    EXPECT_EQ(Trailer(context, "grpc-retry-pushback-ms"), "2501");
    EXPECT_EQ(DetailsOf(status).code(), static_cast<int>(grpc::StatusCode::RESOURCE_EXHAUSTED));
    EXPECT_EQ(DetailOf<google::rpc::ErrorInfo>(status).reason(), "queue_full");
    EXPECT_EQ(DetailOf<google::rpc::RetryInfo>(status).retry_delay().seconds(), 2);
  }
  EXPECT_EQ(service_->refused().size(), 2);
}

TEST_F(AdmissionTest, WhatDoesNotHelpToRepeatHasNoPushback) {
  Start();
  grpc::ClientContext context;
  const auto stream = client().Generate(&context, TextRequest(""));
  const grpc::Status status = ReadAll(*stream).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Trailer(context, "grpc-retry-pushback-ms"), "");
  EXPECT_EQ(DetailOf<google::rpc::ErrorInfo>(status).reason(), "invalid");
}

TEST_F(AdmissionTest, AFullQueueAnswersBeforeTheMessageIsLookedAt) {
  Start();
  engine_.set_refusal(absl::ResourceExhaustedError("full"));
  EXPECT_EQ(Generate(client(), TextRequest("")).status.error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(AdmissionTest, ManyWrongFieldsFitIntoTheAnswer) {
  Start();
  v1::GenerateRequest request = TextRequest("hi");
  request.set_request_id(std::string(1 << 20, '\x01'));
  for (int i = 0; i < 1024; ++i) {
    v1::LogitBias* bias = request.mutable_sampling()->add_logit_bias();
    bias->set_token_id(-2147483647);
    bias->set_bias(-1e38f);
  }
  const grpc::Status status = Generate(client(), request).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
  const auto details = DetailOf<google::rpc::BadRequest>(status);
  ASSERT_EQ(details.field_violations_size(), 32);
  EXPECT_EQ(details.field_violations(0).field(), "request_id");
  EXPECT_EQ(details.field_violations(1).field(), "sampling.logit_bias[0].token_id");
}

// Frames of the answer to a Generate call.
TEST_F(AdmissionTest, ResponseHeadersComeWithTheFirstEventOnly) {
  Start();
  const std::string path = "/sieve.v1.Generation/Generate";
  const std::string good = TextRequest("hi").SerializeAsString();
  engine_.set_refusal(
      Refusal(absl::ResourceExhaustedError("full"), RefusalReason::kQueueFull, absl::Seconds(1)));
  for (const std::string& refused : {good, std::string("\xff")}) {
    RawHttp2 raw(service_->server().port());
    raw.Call(path, refused);
    const std::vector<RawHttp2::Frame> frames = raw.ReadAll();
    ASSERT_EQ(frames.size(), 1) << "trailers only";
    EXPECT_EQ(frames[0].type, RawHttp2::kHeaders);
    EXPECT_TRUE(frames[0].flags & RawHttp2::kEndStream);
    engine_.set_refusal(absl::OkStatus());  // what is no message is then refused by the reader
  }

  RawHttp2 raw(service_->server().port());
  raw.Call(path, good);
  const FakeEngine::Submitted submitted = engine_.Take();
  submitted.queue->Push(AcceptedEvent{});
  submitted.queue->Push(EndEvent{});
  const std::vector<RawHttp2::Frame> frames = raw.ReadAll();
  ASSERT_EQ(frames.size(), 3);
  EXPECT_EQ(frames[0].type, RawHttp2::kHeaders);
  EXPECT_EQ(frames[1].type, RawHttp2::kData);
  EXPECT_EQ(frames[2].type, RawHttp2::kHeaders);
}

TEST_F(AdmissionTest, AQueuedRequestThatEndsWithoutAnEventHasNoHeadersEither) {
  Start();
  RawHttp2 raw(service_->server().port());
  raw.Call("/sieve.v1.Generation/Generate", TextRequest("hi").SerializeAsString());
  engine_.Take().queue->Push(EndEvent{absl::UnavailableError("draining")});
  EXPECT_EQ(raw.ReadAll().size(), 1);
}

TEST_F(AdmissionTest, AClientThatTakesNoAnswerIsGivenUp) {
  HarnessOptions options;
  options.service.stalled_reader_timeout = absl::Milliseconds(400);
  Start(std::move(options));
  v1::TokenizeRequest tokenize;
  tokenize.mutable_text()->set_text("hi");
  const std::string generate = TextRequest("hi").SerializeAsString();
  for (const auto& [method, message] :
       {std::pair<std::string, std::string>("Tokenize", tokenize.SerializeAsString()),
        {"EstimateCost", generate},
        {"GenerateOnce", generate}}) {
    SCOPED_TRACE(method);
    RawHttp2 raw(service_->server().port(), /*window=*/0);
    raw.Call("/sieve.v1.Generation/" + method, message);
    if (method == "GenerateOnce") {
      const FakeEngine::Submitted submitted = engine_.Take();
      submitted.queue->Push(AcceptedEvent{});
      submitted.queue->Push(EndEvent{});
    }
    // It keeps its place among the open calls while it waits, and gives it back.
    absl::SleepFor(absl::Milliseconds(200));
    EXPECT_FALSE(service_->service().AwaitIdle(absl::ZeroDuration()));
    EXPECT_TRUE(service_->service().AwaitIdle(absl::Seconds(20)));
  }
}

TEST_F(AdmissionTest, WithoutAModelEveryMethodIsUnavailable) {
  Start({}, /*loaded=*/false);
  for (const auto& [name, call] : AllMethods()) {
    SCOPED_TRACE(name);
    grpc::ClientContext context;
    const grpc::Status status = call(&client(), &context);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(DetailOf<google::rpc::ErrorInfo>(status).reason(), "loading");
    EXPECT_EQ(DetailOf<google::rpc::RetryInfo>(status).retry_delay().seconds(), 1);
    EXPECT_EQ(Trailer(context, "grpc-retry-pushback-ms"), "1000");
  }
  service_->Serve(&engine_);
  grpc::ClientContext context;
  v1::GetModelResponse response;
  EXPECT_TRUE(client().GetModel(&context, {}, &response).ok());
}

TEST_F(AdmissionTest, WhileDrainingOnlyGetModelAnswers) {
  Start();
  grpc::ClientContext open;
  const auto stream = client().Generate(&open, TextRequest("hi"));
  const FakeEngine::Submitted submitted = engine_.Take();
  service_->service().Drain();
  for (const auto& [name, call] : AllMethods()) {
    SCOPED_TRACE(name);
    grpc::ClientContext context;
    const grpc::Status status = call(&client(), &context);
    if (name == "GetModel") {
      EXPECT_TRUE(status.ok());
      continue;
    }
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(DetailOf<google::rpc::ErrorInfo>(status).reason(), "draining");
  }
  submitted.queue->Push(EndEvent{});
  EXPECT_TRUE(ReadAll(*stream).status.ok()) << "what is open goes on";
}

TEST_F(AdmissionTest, EveryMethodAsksForAKeyWhereThereAreKeys) {
  HarnessOptions options;
  options.service.callers.find_key = [](absl::string_view key) -> std::optional<KeyOwner> {
    if (key != "secret") return std::nullopt;
    return KeyOwner{.tenant = "ada", .weight = 3};
  };
  Start(std::move(options));
  for (const auto& [name, call] : AllMethods()) {
    SCOPED_TRACE(name);
    grpc::ClientContext without;
    EXPECT_EQ(call(&client(), &without).error_code(), grpc::StatusCode::UNAUTHENTICATED);
    grpc::ClientContext wrong;
    wrong.AddMetadata("authorization", "Bearer wrong");
    const grpc::Status status = call(&client(), &wrong);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(DetailOf<google::rpc::ErrorInfo>(status).reason(), "unauthenticated");
  }
  EXPECT_EQ(engine_.num_submitted(), 0);
  EXPECT_EQ(service_->refused().size(), 4) << "of Generate and GenerateOnce";

  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer secret");
  const auto stream = client().Generate(&context, TextRequest("hi"));
  const FakeEngine::Submitted submitted = engine_.Take();
  EXPECT_EQ(submitted.request.tenant, "ada");
  EXPECT_EQ(submitted.request.tenant_weight, 3);
  submitted.queue->Push(EndEvent{});
  EXPECT_TRUE(ReadAll(*stream).status.ok());
}

TEST_F(AdmissionTest, TheEngineLearnsWhoCallsAndTheTrace) {
  HarnessOptions options;
  options.service.callers.tenant_weights = {{"a", 2}};
  Start(std::move(options));
  const std::string trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  grpc::ClientContext context;
  context.AddMetadata("x-sieve-tenant", "a");
  context.AddMetadata("traceparent", trace);
  const auto stream = client().Generate(&context, TextRequest("hi"));
  const FakeEngine::Submitted submitted = engine_.Take();
  EXPECT_EQ(submitted.request.tenant, "a");
  EXPECT_EQ(submitted.request.tenant_weight, 2);
  EXPECT_EQ(submitted.request.traceparent, trace);
  submitted.queue->Push(EndEvent{});
  EXPECT_TRUE(ReadAll(*stream).status.ok());

  grpc::ClientContext bad;
  bad.AddMetadata("x-sieve-tenant", "not a name");
  const auto refused = client().Generate(&bad, TextRequest("hi"));
  EXPECT_EQ(ReadAll(*refused).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(AdmissionTest, OpenCallsAreBounded) {
  HarnessOptions options;
  options.service.max_open_calls = 2;
  Start(std::move(options));
  grpc::ClientContext contexts[2];
  const auto first = client().Generate(&contexts[0], TextRequest("hi"));
  const auto second = client().Generate(&contexts[1], TextRequest("hi"));
  const FakeEngine::Submitted a = engine_.Take(), b = engine_.Take();
  const grpc::Status status = Generate(client(), TextRequest("hi")).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("2"));
  EXPECT_EQ(DetailOf<google::rpc::ErrorInfo>(status).reason(), "queue_full");
  a.queue->Push(EndEvent{});
  b.queue->Push(EndEvent{});
  EXPECT_TRUE(ReadAll(*first).status.ok());
  EXPECT_TRUE(ReadAll(*second).status.ok());
  EXPECT_TRUE(service_->service().AwaitIdle(absl::Minutes(1)));
  v1::DetokenizeResponse response;
  grpc::ClientContext context;
  EXPECT_TRUE(client().Detokenize(&context, {}, &response).ok());
}

// The engine is done with the request, its events wait for a client that takes none.
TEST_F(AdmissionTest, AStreamThatNobodyReadsIsEndedWhenTheEngineIsDoneWithIt) {
  HarnessOptions options;
  options.service.stalled_reader_timeout = absl::Milliseconds(50);
  Start(std::move(options));
  grpc::ClientContext context;
  const auto stream = client().Generate(&context, TextRequest("hi"));
  const FakeEngine::Submitted submitted = engine_.Take();
  for (int i = 0; i < 100; ++i) {
    DeltaEvent delta;
    delta.sample = i % 2;  // not joined
    delta.text = std::string(16 << 10, 'x');
    submitted.queue->Push(delta);
  }
  submitted.queue->Push(EndEvent{});
  EXPECT_TRUE(service_->service().AwaitIdle(absl::Minutes(1)));
  EXPECT_FALSE(ReadAll(*stream).status.ok());
}

TEST_F(AdmissionTest, EstimateCostTellsWhatTheEngineSays) {
  Start();
  CostEstimate estimate;
  estimate.cached_prompt_tokens = 1;
  estimate.prompt_cache_bytes = 100;
  estimate.peak_cache_bytes = int64_t{1} << 40;
  estimate.time_to_first_token = absl::Milliseconds(1500);
  estimate.refusal = absl::ResourceExhaustedError("the queue is full");
  engine_.set_estimate(estimate);
  v1::GenerateRequest request = TextRequest("hi");
  request.set_num_samples(3);
  request.mutable_stop()->set_max_tokens(7);
  v1::EstimateCostResponse cost;
  grpc::ClientContext context;
  ASSERT_TRUE(client().EstimateCost(&context, request, &cost).ok());
  EXPECT_EQ(cost.prompt_tokens(), 3);
  EXPECT_EQ(cost.cached_prompt_tokens(), 1);
  EXPECT_EQ(cost.max_generated_tokens(), 21);
  EXPECT_EQ(cost.prompt_cache_bytes(), 100);
  EXPECT_EQ(cost.peak_cache_bytes(), int64_t{1} << 40);
  EXPECT_EQ(cost.time_to_first_token().seconds(), 1);
  EXPECT_EQ(cost.time_to_first_token().nanos(), 500'000'000);
  EXPECT_EQ(cost.refusal(), "the queue is full");

  engine_.set_estimate({});
  grpc::ClientContext context_idle;
  v1::EstimateCostResponse idle;
  ASSERT_TRUE(client().EstimateCost(&context_idle, request, &idle).ok());
  EXPECT_FALSE(idle.has_time_to_first_token());
  EXPECT_EQ(idle.refusal(), "");

  request.set_num_samples(0);
  grpc::ClientContext context_bad;
  const grpc::Status status = client().EstimateCost(&context_bad, request, &cost);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(DetailOf<google::rpc::BadRequest>(status).field_violations(0).field(), "num_samples");
  EXPECT_EQ(engine_.num_submitted(), 0);
}

}  // namespace
}  // namespace sieve
