#include "server/generation_service.h"

#include <chrono>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "google/protobuf/stubs/logging.h"
#include "grpcpp/generic/generic_stub.h"
#include "gtest/gtest.h"
#include "tests/server/fake_engine.h"
#include "tests/server/service_harness.h"

namespace sieve {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The service against an engine that does what the test says.
class GenerationServiceTest : public testing::Test {
 protected:
  static DeltaEvent Delta(int32_t sample, const std::string& text) {
    DeltaEvent delta;
    delta.sample = sample;
    delta.text = text;
    delta.token_ids.assign(text.begin(), text.end());
    return delta;
  }
  static FinishedEvent Finished(int32_t sample) {
    FinishedEvent finished;
    finished.sample = sample;
    return finished;
  }

  // Waits until the engine's queue of a request is cancelled.
  static void AwaitCancelled(const EventQueue& queue) {
    while (!queue.cancelled()) absl::SleepFor(absl::Milliseconds(1));
  }

  FakeEngine engine_;
  const ServiceHarness service_{&engine_, TestModel(1000)};
};

TEST_F(GenerationServiceTest, StreamsEveryFieldInOrder) {
  v1::GenerateRequest request = TextRequest("hi");
  request.set_request_id("mine");
  request.mutable_sampling()->set_seed(77);
  request.set_logprobs(1);
  grpc::ClientContext context;
  const auto stream = service_.client().Generate(&context, request);

  const FakeEngine::Submitted submitted = engine_.Take();
  EXPECT_EQ(submitted.request.id, "mine");
  EXPECT_THAT(submitted.request.prompt, ElementsAre(kTestBos, 'h', 'i'));
  submitted.queue->Push(AcceptedEvent{3, 2});
  DeltaEvent delta = Delta(0, "x");
  delta.logprobs = {{.chosen = {'x', -0.5f}, .top = {{'y', -0.25f}}}};
  submitted.queue->Push(delta);
  FinishedEvent finished = Finished(0);
  finished.reason = FinishReason::kStopText;
  finished.stop_text = "stop";
  finished.prompt_tokens = 3;
  finished.cached_prompt_tokens = 2;
  finished.generated_tokens = 1;
  finished.preemptions = 4;
  finished.queue = absl::Milliseconds(1500);
  finished.prefill = absl::Nanoseconds(7);
  finished.time_to_first_token = absl::Seconds(2);
  finished.decode = absl::Seconds(3);
  finished.peak_cache_bytes = int64_t{5} << 30;
  finished.page_seconds = 2.5;
  submitted.queue->Push(finished);
  submitted.queue->Push(EndEvent{});

  const StreamResult result = ReadAll(*stream);
  EXPECT_TRUE(result.status.ok()) << result.status.error_message();
  ASSERT_EQ(result.events.size(), 3);
  const v1::Accepted& accepted = result.events[0].accepted();
  EXPECT_EQ(accepted.request_id(), "mine");
  EXPECT_EQ(accepted.seed(), 77);
  EXPECT_EQ(accepted.prompt_tokens(), 3);
  EXPECT_EQ(accepted.cached_prompt_tokens(), 2);
  const v1::Delta& got = result.events[1].delta();
  EXPECT_EQ(got.text(), "x");
  EXPECT_THAT(got.token_ids(), ElementsAre('x'));
  ASSERT_EQ(got.logprobs_size(), 1);
  EXPECT_EQ(got.logprobs(0).chosen().token(), "x");
  EXPECT_EQ(got.logprobs(0).chosen().logprob(), -0.5f);
  EXPECT_EQ(got.logprobs(0).top(0).token_id(), 'y');
  const v1::Finished& end = result.events[2].finished();
  EXPECT_EQ(end.reason(), v1::FINISH_REASON_STOP_TEXT);
  EXPECT_EQ(end.stop_text(), "stop");
  EXPECT_EQ(end.usage().prompt_tokens(), 3);
  EXPECT_EQ(end.usage().cached_prompt_tokens(), 2);
  EXPECT_EQ(end.usage().generated_tokens(), 1);
  EXPECT_EQ(end.usage().preemptions(), 4);
  EXPECT_EQ(end.timings().queue().seconds(), 1);
  EXPECT_EQ(end.timings().queue().nanos(), 500'000'000);
  EXPECT_EQ(end.timings().prefill().nanos(), 7);
  EXPECT_EQ(end.timings().time_to_first_token().seconds(), 2);
  EXPECT_EQ(end.timings().decode().seconds(), 3);
  EXPECT_EQ(end.cache().peak_bytes(), int64_t{5} << 30);
  EXPECT_EQ(end.cache().page_seconds(), 2.5);
}

TEST_F(GenerationServiceTest, ALongStreamOfManyDeltasLosesNothing) {
  grpc::ClientContext context;
  const auto stream = service_.client().Generate(&context, TextRequest("hi"));
  const FakeEngine::Submitted submitted = engine_.Take();
  submitted.queue->Push(AcceptedEvent{});
  std::string expected[2];
  for (int i = 0; i < 3000; ++i) {
    const int sample = i % 7 < 5 ? 0 : 1;
    const std::string text = absl::StrCat(i, " ");
    expected[sample] += text;
    submitted.queue->Push(Delta(sample, text));
  }
  submitted.queue->Push(Finished(0));
  submitted.queue->Push(Finished(1));
  submitted.queue->Push(EndEvent{});

  const StreamResult result = ReadAll(*stream);
  EXPECT_TRUE(result.status.ok());
  EXPECT_TRUE(result.events.front().has_accepted());
  EXPECT_TRUE(result.events.back().has_finished());
  EXPECT_EQ(result.Text(0), expected[0]);
  EXPECT_EQ(result.Text(1), expected[1]);
}

TEST_F(GenerationServiceTest, AnInvalidRequestNeverReachesTheEngine) {
  const StreamResult result = Generate(service_.client(), TextRequest(""));
  EXPECT_TRUE(result.events.empty());
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(result.status.error_message(), HasSubstr("text.text is empty"));
  EXPECT_EQ(engine_.num_submitted(), 0);
  ASSERT_EQ(service_.refused().size(), 1);
  EXPECT_EQ(service_.refused()[0].code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(GenerationServiceTest, ARefusalOfTheEngineIsAStatusAlone) {
  engine_.set_refusal(absl::ResourceExhaustedError("the queue is full"));
  const StreamResult result = Generate(service_.client(), TextRequest("hi"));
  EXPECT_TRUE(result.events.empty());
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(result.status.error_message(), "the queue is full");

  grpc::ClientContext context;
  v1::GenerateResponse response;
  const grpc::Status status =
      service_.client().GenerateOnce(&context, TextRequest("hi"), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(service_.refused().size(), 2);
}

TEST_F(GenerationServiceTest, AnErrorComesAfterTheEventsBeforeIt) {
  grpc::ClientContext context;
  const auto stream = service_.client().Generate(&context, TextRequest("hi"));
  const FakeEngine::Submitted submitted = engine_.Take();
  submitted.queue->Push(AcceptedEvent{});
  submitted.queue->Push(Delta(0, "part"));
  submitted.queue->Push(EndEvent{absl::UnavailableError("the server is shutting down")});
  const StreamResult result = ReadAll(*stream);
  EXPECT_EQ(result.Text(0), "part");
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(result.status.error_message(), "the server is shutting down");
}

TEST_F(GenerationServiceTest, CancellingTheCallCancelsTheQueueAtOnce) {
  grpc::ClientContext context;
  const auto stream = service_.client().Generate(&context, TextRequest("hi"));
  const FakeEngine::Submitted submitted = engine_.Take();
  submitted.queue->Push(AcceptedEvent{});
  v1::GenerateEvent event;
  EXPECT_TRUE(stream->Read(&event));
  const int notifications = engine_.notifications();
  context.TryCancel();
  AwaitCancelled(*submitted.queue);
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  while (engine_.notifications() == notifications) absl::SleepFor(absl::Milliseconds(1));
  // The engine finds out later, and still has events to give.
  submitted.queue->Push(Delta(0, "late"));
  submitted.queue->Push(EndEvent{absl::CancelledError("")});
}

TEST_F(GenerationServiceTest, TheCallsDeadlineCancelsTheQueue) {
  grpc::ClientContext context;
  const auto deadline = std::chrono::system_clock::now() + std::chrono::milliseconds(100);
  context.set_deadline(deadline);
  const auto stream = service_.client().Generate(&context, TextRequest("hi"));
  const FakeEngine::Submitted submitted = engine_.Take();
  // The wire carries what is left of it, rounded.
  EXPECT_LT(absl::AbsDuration(submitted.request.deadline - absl::FromChrono(deadline)),
            absl::Seconds(1));
  EXPECT_EQ(ReadAll(*stream).status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  AwaitCancelled(*submitted.queue);
}

TEST_F(GenerationServiceTest, AReaderThatDoesNotReadLeavesEventsInTheQueue) {
  grpc::ClientContext context;
  const auto stream = service_.client().Generate(&context, TextRequest("hi"));
  const FakeEngine::Submitted submitted = engine_.Take();
  submitted.queue->Push(AcceptedEvent{});
  // Different samples, which are not joined, until flow control holds the writes up: then the queue
  // fills.
  const std::string text(16 << 10, 'x');
  int pushed = 0;
  while (submitted.queue->HasRoom()) submitted.queue->Push(Delta(pushed++ % 2, text));
  submitted.queue->Push(Finished(0));
  submitted.queue->Push(EndEvent{});
  const StreamResult result = ReadAll(*stream);
  EXPECT_TRUE(result.status.ok());
  EXPECT_EQ(result.Text(0).size() + result.Text(1).size(), pushed * text.size());
  EXPECT_GT(engine_.notifications(), 0);
}

TEST_F(GenerationServiceTest, AVanishedReaderIsCancelled) {
  const std::shared_ptr<grpc::Channel> channel = service_.NewChannel();
  auto client = v1::Generation::NewStub(channel);
  auto context = std::make_unique<grpc::ClientContext>();
  auto stream = client->Generate(context.get(), TextRequest("hi"));
  const FakeEngine::Submitted submitted = engine_.Take();
  while (submitted.queue->HasRoom()) submitted.queue->Push(Delta(0, std::string(16 << 10, 'x')));
  stream.reset();
  context.reset();  // the client is gone without another word
  client.reset();
  AwaitCancelled(*submitted.queue);
}

TEST_F(GenerationServiceTest, GenerateOnceCollectsTheSamples) {
  v1::GenerateRequest request = TextRequest("hi");
  request.set_num_samples(2);
  v1::GenerateResponse response;
  grpc::Status status;
  std::thread call([&] {
    grpc::ClientContext context;
    status = service_.client().GenerateOnce(&context, request, &response);
  });
  const FakeEngine::Submitted submitted = engine_.Take();
  EXPECT_EQ(submitted.request.num_samples, 2);
  submitted.queue->Push(AcceptedEvent{3, 0});
  submitted.queue->Push(Delta(0, "a"));
  submitted.queue->Push(Delta(1, "b"));
  submitted.queue->Push(Finished(1));
  submitted.queue->Push(Delta(0, "c"));
  submitted.queue->Push(Finished(0));
  submitted.queue->Push(EndEvent{});
  call.join();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.accepted().prompt_tokens(), 3);
  ASSERT_EQ(response.samples_size(), 2);
  EXPECT_EQ(response.samples(0).text(), "ac");
  EXPECT_THAT(response.samples(0).token_ids(), ElementsAre('a', 'c'));
  EXPECT_EQ(response.samples(1).text(), "b");
  EXPECT_EQ(response.samples(1).finished().sample(), 1);
}

TEST_F(GenerationServiceTest, GenerateOnceAnswersAnErrorWithoutSamples) {
  grpc::Status status;
  std::thread call([&] {
    grpc::ClientContext context;
    v1::GenerateResponse response;
    status = service_.client().GenerateOnce(&context, TextRequest("hi"), &response);
  });
  const FakeEngine::Submitted submitted = engine_.Take();
  submitted.queue->Push(AcceptedEvent{});
  submitted.queue->Push(Delta(0, "a"));
  submitted.queue->Push(EndEvent{absl::DeadlineExceededError("too late")});
  call.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(status.error_message(), "too late");
}

TEST_F(GenerationServiceTest, GenerateOnceIsCancelledByItsDeadline) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
  v1::GenerateResponse response;
  EXPECT_EQ(service_.client().GenerateOnce(&context, TextRequest("hi"), &response).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  AwaitCancelled(*engine_.Take().queue);
}

TEST_F(GenerationServiceTest, IsIdleWhenItsCallsAreOver) {
  EXPECT_TRUE(service_.service().AwaitIdle(absl::ZeroDuration()));
  grpc::ClientContext context;
  const auto stream = service_.client().Generate(&context, TextRequest("hi"));
  const FakeEngine::Submitted submitted = engine_.Take();
  EXPECT_FALSE(service_.service().AwaitIdle(absl::Milliseconds(1)));
  submitted.queue->Push(EndEvent{});
  EXPECT_TRUE(ReadAll(*stream).status.ok());
  EXPECT_TRUE(service_.service().AwaitIdle(absl::Minutes(1)));
}

// --- messages as such

TEST_F(GenerationServiceTest, BytesThatAreNoMessageAreRefusedWithWords) {
  grpc::TemplatedGenericStub<grpc::ByteBuffer, v1::TokenizeResponse> stub(service_.NewChannel());
  for (const char* method :
       {"Generate", "GenerateOnce", "EstimateCost", "Tokenize", "Detokenize", "GetModel"}) {
    SCOPED_TRACE(method);
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    const grpc::Slice slice("\xff\xff\xff broken");
    const grpc::ByteBuffer message(&slice, 1);
    const auto call = stub.PrepareUnaryCall(&context, absl::StrCat("/sieve.v1.Generation/", method),
                                            message, &queue);
    call->StartCall();
    v1::TokenizeResponse response;
    grpc::Status status;
    call->Finish(&response, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(queue.Next(&tag, &ok));
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr("not a well-formed sieve.v1."));
  }
}

TEST_F(GenerationServiceTest, InvalidUtf8InAStringFieldIsRefused) {
  const google::protobuf::LogSilencer silencer;  // the client's library complains
  v1::GenerateRequest request;
  v1::ChatMessage* message = request.mutable_chat()->add_messages();
  message->set_role(v1::ChatMessage::ROLE_USER);
  message->set_content("\xff");
  const StreamResult result = Generate(service_.client(), request);
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(result.status.error_message(), HasSubstr("UTF-8"));
}

TEST_F(GenerationServiceTest, AMessageOf100MegabytesIsRefusedAndTheNextRequestWorks) {
  const StreamResult result =
      Generate(service_.client(), TextRequest(std::string(100'000'000, 'x')));
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(result.status.error_message(), HasSubstr("larger than max"));
  EXPECT_EQ(engine_.num_submitted(), 0);

  grpc::ClientContext context;
  v1::GetModelResponse response;
  EXPECT_TRUE(service_.client().GetModel(&context, {}, &response).ok());
}

TEST_F(GenerationServiceTest, OneHundredThousandStopTextsOverTheWire) {
  v1::GenerateRequest request = TextRequest("hi");
  for (int i = 0; i < 100'000; ++i) request.mutable_stop()->add_stop_texts(absl::StrCat(i));
  const StreamResult result = Generate(service_.client(), request);
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(result.status.error_message(), HasSubstr("100000 entries; expected at most 16"));
}

// --- tokenizer and model

TEST_F(GenerationServiceTest, TokenizeAndBack) {
  v1::TokenizeRequest request;
  request.mutable_text()->set_text("\u00e9");
  v1::TokenizeResponse tokens;
  grpc::ClientContext context;
  ASSERT_TRUE(service_.client().Tokenize(&context, request, &tokens).ok());
  EXPECT_THAT(tokens.token_ids(), ElementsAre(kTestBos, 0xc3, 0xa9));
  EXPECT_THAT(tokens.tokens(), ElementsAre("<bos>", "\xc3", "\xa9"));

  v1::DetokenizeRequest back;
  *back.mutable_token_ids() = tokens.token_ids();
  v1::DetokenizeResponse text;
  grpc::ClientContext context_back;
  ASSERT_TRUE(service_.client().Detokenize(&context_back, back, &text).ok());
  EXPECT_EQ(text.text(), "\u00e9");

  back.add_token_ids(100'000);
  grpc::ClientContext context_bad;
  EXPECT_EQ(service_.client().Detokenize(&context_bad, back, &text).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(GenerationServiceTest, GetModelTellsTheEnginesPagesAndLoad) {
  EngineStats stats;
  stats.running_sequences = 3;
  stats.waiting_requests = 4;
  stats.total_pages = 100;
  stats.free_pages = 70;
  stats.cached_pages = 20;
  stats.active_pages = 10;
  engine_.set_stats(stats);
  grpc::ClientContext context;
  v1::GetModelResponse model;
  ASSERT_TRUE(service_.client().GetModel(&context, {}, &model).ok());
  EXPECT_EQ(model.name(), "tiny");
  EXPECT_EQ(model.load().running_sequences(), 3);
  EXPECT_EQ(model.load().waiting_requests(), 4);
  EXPECT_EQ(model.cache().page_tokens(), 64);
  EXPECT_EQ(model.cache().total_pages(), 100);
  EXPECT_EQ(model.cache().free_pages(), 70);
  EXPECT_EQ(model.cache().cached_pages(), 20);
  EXPECT_EQ(model.cache().active_pages(), 10);
  EXPECT_EQ(model.limits().max_context_tokens(), 1000);
  EXPECT_EQ(model.limits().max_request_bytes(), 4 << 20);
}

}  // namespace
}  // namespace sieve
