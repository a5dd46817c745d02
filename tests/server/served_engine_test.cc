// The service over gRPC with the real engine, on a model that remembers tokens.

#include <atomic>
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
#include "gtest/gtest.h"
#include "server/engine.h"
#include "tests/server/fake_language_model.h"
#include "tests/server/service_harness.h"

namespace sieve {
namespace {

using testing::HasSubstr;

constexpr int32_t kContext = 4000;
constexpr int64_t kPages = 400;

v1::GenerateRequest LongRequest(int32_t tokens) {
  v1::GenerateRequest request = TextRequest("once upon a time");
  request.mutable_stop()->set_max_tokens(tokens);
  request.mutable_stop()->set_ignore_eos(true);
  request.mutable_sampling()->set_seed(1);
  return request;
}

std::vector<int32_t> TokensOf(const StreamResult& result, int sample = 0) {
  std::vector<int32_t> tokens;
  for (const v1::GenerateEvent& event : result.events) {
    if (!event.has_delta() || event.delta().sample() != sample) continue;
    tokens.insert(tokens.end(), event.delta().token_ids().begin(), event.delta().token_ids().end());
  }
  return tokens;
}

class ServedEngineTest : public testing::Test {
 protected:
  ServedEngineTest() { Start(absl::InfiniteDuration()); }

  ~ServedEngineTest() override {
    service_.reset();
    engine_.reset();
    EXPECT_EQ(model_->error(), "");
  }

  void Start(absl::Duration stalled_reader_timeout) {
    service_.reset();
    engine_.reset();
    model_ = std::make_unique<FakeLanguageModel>(kTestVocabulary, kPages);
    EngineConfig config;
    config.context_length = kContext;
    config.stalled_reader_timeout = stalled_reader_timeout;
    engine_ = Engine::Create(config, model_.get(), tokenizer_.get(), nullptr);
    service_ = std::make_unique<ServiceHarness>(engine_.get(), TestModel(kContext));
  }

  v1::Generation::Stub& client() const { return service_->client(); }

  v1::GetModelResponse GetModel() const {
    grpc::ClientContext context;
    v1::GetModelResponse response;
    EXPECT_TRUE(client().GetModel(&context, {}, &response).ok());
    return response;
  }

  // Waits until the API says that no request holds a page.
  void AwaitPagesFree() const {
    while (GetModel().cache().active_pages() > 0) absl::SleepFor(absl::Milliseconds(2));
    const v1::CacheInfo cache = GetModel().cache();
    EXPECT_EQ(cache.free_pages() + cache.cached_pages(), kPages);
  }

  // Makes each step last this long at least.
  void SlowDown(absl::Duration step) const {
    model_->set_hook([step](const Batch&, absl::Span<float>) {
      absl::SleepFor(step);
      return absl::OkStatus();
    });
  }

  const std::unique_ptr<Tokenizer> tokenizer_ = MakeTestTokenizer();
  std::unique_ptr<FakeLanguageModel> model_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<ServiceHarness> service_;
};

TEST_F(ServedEngineTest, AStreamAndAUnaryCallGiveTheSame) {
  const v1::GenerateRequest request = LongRequest(200);
  const StreamResult streamed = Generate(client(), request);
  ASSERT_TRUE(streamed.status.ok()) << streamed.status.error_message();
  EXPECT_TRUE(streamed.events.front().has_accepted());
  const v1::Finished& finished = streamed.events.back().finished();
  EXPECT_EQ(finished.reason(), v1::FINISH_REASON_MAX_TOKENS);
  EXPECT_EQ(finished.usage().generated_tokens(), 200);
  EXPECT_EQ(finished.usage().prompt_tokens(), 17);
  EXPECT_EQ(TokensOf(streamed).size(), 200);

  grpc::ClientContext context;
  v1::GenerateResponse once;
  ASSERT_TRUE(client().GenerateOnce(&context, request, &once).ok());
  EXPECT_EQ(
      std::vector<int32_t>(once.samples(0).token_ids().begin(), once.samples(0).token_ids().end()),
      TokensOf(streamed));
  EXPECT_EQ(once.samples(0).text(), streamed.Text(0));
  AwaitPagesFree();
}

TEST_F(ServedEngineTest, SixtyFourStreamsAtOnceAsEachAlone) {
  std::vector<v1::GenerateRequest> requests;
  for (int i = 0; i < 64; ++i) {
    requests.push_back(LongRequest(20 + i));
    requests.back().mutable_text()->set_text(absl::StrCat("prompt ", i));
    requests.back().mutable_sampling()->set_seed(i);
  }
  std::vector<StreamResult> together(requests.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < requests.size(); ++i) {
    threads.emplace_back([&, i] { together[i] = Generate(client(), requests[i]); });
  }
  for (std::thread& thread : threads) thread.join();
  AwaitPagesFree();
  for (size_t i = 0; i < requests.size(); ++i) {
    SCOPED_TRACE(i);
    ASSERT_TRUE(together[i].status.ok()) << together[i].status.error_message();
    EXPECT_EQ(TokensOf(together[i]), TokensOf(Generate(client(), requests[i])));
  }
}

TEST_F(ServedEngineTest, CancellingHalfWayFreesThePages) {
  SlowDown(absl::Milliseconds(1));
  grpc::ClientContext context;
  const auto stream = client().Generate(&context, LongRequest(3900));
  v1::GenerateEvent event;
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(stream->Read(&event));
  EXPECT_GT(GetModel().cache().active_pages(), 0);
  context.TryCancel();
  EXPECT_EQ(ReadAll(*stream).status.error_code(), grpc::StatusCode::CANCELLED);
  AwaitPagesFree();
  EXPECT_LT(engine_->stats().generated_tokens, 3900);
}

TEST_F(ServedEngineTest, CancellingAUnaryCallFreesThePages) {
  SlowDown(absl::Milliseconds(1));
  grpc::ClientContext context;
  std::thread call([&] {
    v1::GenerateResponse response;
    EXPECT_EQ(client().GenerateOnce(&context, LongRequest(3900), &response).error_code(),
              grpc::StatusCode::CANCELLED);
  });
  while (GetModel().cache().active_pages() == 0) absl::SleepFor(absl::Milliseconds(1));
  context.TryCancel();
  call.join();
  AwaitPagesFree();
}

TEST_F(ServedEngineTest, ARequestsOwnTimeoutHolds) {
  SlowDown(absl::Milliseconds(2));
  v1::GenerateRequest request = LongRequest(3900);
  request.mutable_timeout()->set_nanos(100'000'000);
  const StreamResult result = Generate(client(), request);
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_LT(TokensOf(result).size(), 3900);
  AwaitPagesFree();
}

TEST_F(ServedEngineTest, TheCallsDeadlineFreesThePages) {
  SlowDown(absl::Milliseconds(2));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
  const auto stream = client().Generate(&context, LongRequest(3900));
  EXPECT_EQ(ReadAll(*stream).status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  AwaitPagesFree();
}

TEST_F(ServedEngineTest, AClientThatDoesNotReadHoldsNobodyUp) {
  v1::GenerateRequest request = LongRequest(3900);
  request.set_logprobs(20);  // a megabyte in all, more than flow control lets through
  const auto slow_client = service_->NewClient();
  grpc::ClientContext context;
  const auto slow = slow_client->Generate(&context, request);
  for (int i = 0; i < 5; ++i) {
    const StreamResult other = Generate(client(), LongRequest(1000));
    ASSERT_TRUE(other.status.ok()) << other.status.error_message();
    EXPECT_EQ(TokensOf(other).size(), 1000);
  }
  EXPECT_LT(engine_->stats().generated_tokens, 5 * 1000 + 3900);
  EXPECT_GT(GetModel().cache().active_pages(), 0);

  const StreamResult all = ReadAll(*slow);
  ASSERT_TRUE(all.status.ok()) << all.status.error_message();
  EXPECT_EQ(TokensOf(all).size(), 3900);
  AwaitPagesFree();
}

TEST_F(ServedEngineTest, AClientThatNeverReadsLosesItsPages) {
  Start(absl::Milliseconds(200));
  v1::GenerateRequest request = LongRequest(3900);
  request.set_logprobs(20);
  grpc::ClientContext context;
  const auto stream = client().Generate(&context, request);
  while (GetModel().cache().active_pages() == 0) absl::SleepFor(absl::Milliseconds(1));
  AwaitPagesFree();
  // What it had until then still comes.
  const StreamResult result = ReadAll(*stream);
  EXPECT_FALSE(result.status.ok());
  EXPECT_GT(TokensOf(result).size(), 0);
  EXPECT_LT(TokensOf(result).size(), 3900);
}

TEST_F(ServedEngineTest, StoppingEndsOpenStreamsAndRefusesNewOnes) {
  SlowDown(absl::Milliseconds(1));
  grpc::ClientContext context;
  const auto stream = client().Generate(&context, LongRequest(3900));
  v1::GenerateEvent event;
  ASSERT_TRUE(stream->Read(&event));
  ASSERT_TRUE(stream->Read(&event));
  engine_->Stop();
  EXPECT_EQ(ReadAll(*stream).status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Generate(client(), LongRequest(1)).status.error_code(), grpc::StatusCode::UNAVAILABLE);
  service_->server().Shutdown(absl::Seconds(60));
}

TEST_F(ServedEngineTest, AFailedStepEndsItsRequestOnly) {
  std::atomic<bool> fail = true;
  model_->set_hook([&fail](const Batch&, absl::Span<float>) {
    return fail.exchange(false) ? absl::InternalError("broken") : absl::OkStatus();
  });
  EXPECT_EQ(Generate(client(), LongRequest(5)).status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_TRUE(Generate(client(), LongRequest(5)).status.ok());
}

TEST_F(ServedEngineTest, FourSamplesOfOnePrompt) {
  v1::GenerateRequest request = LongRequest(50);
  request.set_num_samples(4);
  const StreamResult result = Generate(client(), request);
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  for (int sample = 0; sample < 4; ++sample) {
    EXPECT_EQ(TokensOf(result, sample).size(), 50);
  }
  EXPECT_NE(TokensOf(result, 0), TokensOf(result, 1));
  AwaitPagesFree();
}

// Each is answered with its code and a message, and a good request works after it.
struct BadRequest {
  std::string name;
  std::function<void(v1::GenerateRequest*)> spoil;
  grpc::StatusCode code;
  std::string message;  // a part of it
};

class BadRequestTest : public ServedEngineTest, public testing::WithParamInterface<BadRequest> {};

TEST_P(BadRequestTest, IsRefusedAndTheNextWorks) {
  v1::GenerateRequest request = LongRequest(5);
  GetParam().spoil(&request);
  const StreamResult result = Generate(client(), request);
  EXPECT_TRUE(result.events.empty());
  EXPECT_EQ(result.status.error_code(), GetParam().code);
  EXPECT_THAT(result.status.error_message(), HasSubstr(GetParam().message));
  EXPECT_TRUE(Generate(client(), LongRequest(5)).status.ok());
}

INSTANTIATE_TEST_SUITE_P(
    All, BadRequestTest,
    testing::Values(
        BadRequest{"EmptyPrompt", [](auto* r) { r->mutable_text()->set_text(""); },
                   grpc::StatusCode::INVALID_ARGUMENT, "text.text is empty"},
        BadRequest{"PromptLongerThanTheContext",
                   [](auto* r) { r->mutable_text()->set_text(std::string(5000, 'x')); },
                   grpc::StatusCode::INVALID_ARGUMENT, "5001 tokens; expected at most 3999"},
        BadRequest{"PromptOfFourMegabytes",
                   [](auto* r) { r->mutable_text()->set_text(std::string(4'000'000, 'x')); },
                   grpc::StatusCode::INVALID_ARGUMENT, "at least 800000 tokens"},
        BadRequest{"InvalidUtf8", [](auto* r) { r->mutable_text()->set_text("a\xc0\xaf"); },
                   grpc::StatusCode::INVALID_ARGUMENT, "byte 0xc0 at offset 1"},
        BadRequest{"TokenOutsideTheVocabulary",
                   [](auto* r) { r->mutable_token_ids()->add_ids(258); },
                   grpc::StatusCode::INVALID_ARGUMENT, "token_ids.ids[0] is 258"},
        BadRequest{"NanTemperature",
                   [](auto* r) { r->mutable_sampling()->set_temperature(0.0f / 0.0f); },
                   grpc::StatusCode::INVALID_ARGUMENT, "sampling.temperature is"},
        BadRequest{"NegativeMaxTokens", [](auto* r) { r->mutable_stop()->set_max_tokens(-1); },
                   grpc::StatusCode::INVALID_ARGUMENT, "stop.max_tokens is -1"},
        BadRequest{"HugeTopK", [](auto* r) { r->mutable_sampling()->set_top_k(2147483647); },
                   grpc::StatusCode::INVALID_ARGUMENT, "sampling.top_k is 2147483647"},
        BadRequest{"TooManySamples", [](auto* r) { r->set_num_samples(2147483647); },
                   grpc::StatusCode::INVALID_ARGUMENT, "num_samples is 2147483647"},
        BadRequest{"AnotherModel", [](auto* r) { r->set_model("gpt"); },
                   grpc::StatusCode::NOT_FOUND, "\"gpt\""}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace sieve
