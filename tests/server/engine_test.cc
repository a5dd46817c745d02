#include "server/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <latch>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "tests/server/event_collector.h"
#include "tests/server/fake_language_model.h"
#include "tests/server/fake_tokenizer.h"

namespace sieve {
namespace {

std::vector<int32_t> Prompt(int64_t length, int32_t first = 0) {
  std::vector<int32_t> tokens(length);
  for (int64_t i = 0; i < length; ++i) tokens[i] = (first + i * 7) % 200;
  return tokens;
}

GenerationRequest Request(std::vector<int32_t> prompt, int32_t max_tokens) {
  GenerationRequest request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.ignore_eos = true;
  request.sampling.seed = 17;
  return request;
}

class EngineTest : public testing::Test {
 protected:
  EngineTest() { config_.context_length = 4096; }

  ~EngineTest() override {
    engine_.reset();
    EXPECT_EQ(model_ == nullptr ? "" : model_->error(), "");
  }

  void Start(int64_t num_pages) {
    engine_.reset();
    model_ = std::make_unique<FakeLanguageModel>(tokenizer_.vocabulary_size(), num_pages);
    engine_ = Engine::Create(config_, model_.get(), &tokenizer_, nullptr);
  }

  // Runs one request to its end.
  std::unique_ptr<EventCollector> Run(const GenerationRequest& request) {
    auto reader = std::make_unique<EventCollector>();
    const absl::Status submitted = engine_->Submit(request, reader->queue());
    EXPECT_TRUE(submitted.ok()) << submitted;
    const absl::Status status = reader->ReadAll([this] { engine_->Notify(); });
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(reader->error, "");
    return reader;
  }

  // Sets `value` in the logits of every row.
  void ForceLogit(int32_t token, float value) {
    const int64_t vocabulary = tokenizer_.vocabulary_size();
    model_->set_hook([=](const Batch&, absl::Span<float> logits) {
      for (size_t i = token; i < logits.size(); i += vocabulary) logits[i] = value;
      return absl::OkStatus();
    });
  }

  void ExpectAllPagesBack() {
    const EngineStats stats = engine_->stats();
    EXPECT_EQ(stats.active_pages, 0);
    EXPECT_EQ(stats.free_pages + stats.cached_pages, stats.total_pages);
    EXPECT_EQ(stats.running_sequences, 0);
    EXPECT_EQ(stats.waiting_requests, 0);
  }

  FakeTokenizer tokenizer_{{"STOP", "ST", "OP", "\xc3\xa9t"}};
  EngineConfig config_;
  std::unique_ptr<FakeLanguageModel> model_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineTest, StreamsARequestFromAcceptedToEnd) {
  Start(8);
  const auto reader = Run(Request(Prompt(10), 5));
  ASSERT_TRUE(reader->accepted);
  EXPECT_EQ(reader->accepted->prompt_tokens, 10);
  EXPECT_EQ(reader->accepted->cached_prompt_tokens, 0);
  ASSERT_EQ(reader->samples.size(), 1);
  const CollectedSample& sample = reader->samples[0];
  EXPECT_EQ(sample.tokens.size(), 5);
  EXPECT_TRUE(sample.logprobs.empty());
  ASSERT_TRUE(sample.finished);
  EXPECT_EQ(sample.finished->reason, FinishReason::kMaxTokens);
  EXPECT_EQ(sample.finished->prompt_tokens, 10);
  EXPECT_EQ(sample.finished->generated_tokens, 5);
  EXPECT_EQ(sample.finished->preemptions, 0);
  EXPECT_GE(sample.finished->time_to_first_token, sample.finished->prefill);
  ExpectAllPagesBack();
  EXPECT_EQ(engine_->stats().generated_tokens, 5);
  EXPECT_EQ(engine_->stats().prompt_tokens_computed, 10);
}

TEST_F(EngineTest, AFullContextIsNotAMaximumOfTokens) {
  Start(8);
  GenerationRequest request = Request(Prompt(10), 3);
  request.max_tokens_is_context = true;
  const auto reader = Run(request);
  EXPECT_EQ(reader->samples[0].finished->reason, FinishReason::kMaxContext);
}

TEST_F(EngineTest, EndOfSequenceEndsUnlessIgnored) {
  Start(8);
  ForceLogit(tokenizer_.eos(), 50);
  GenerationRequest request = Request(Prompt(3), 4);
  request.ignore_eos = false;
  auto reader = Run(request);
  EXPECT_EQ(reader->samples[0].finished->reason, FinishReason::kEndOfSequence);
  EXPECT_EQ(reader->samples[0].tokens, std::vector<int32_t>{tokenizer_.eos()});
  EXPECT_EQ(reader->samples[0].text, "");

  request.min_tokens = 2;
  reader = Run(request);
  EXPECT_EQ(reader->samples[0].finished->reason, FinishReason::kEndOfSequence);
  EXPECT_EQ(reader->samples[0].tokens.size(), 3);

  request.min_tokens = 0;
  request.ignore_eos = true;
  reader = Run(request);
  EXPECT_EQ(reader->samples[0].finished->reason, FinishReason::kMaxTokens);
  EXPECT_EQ(reader->samples[0].tokens.size(), 4);
}

TEST_F(EngineTest, StopTokenEndsAndItsTextIsLeftOut) {
  Start(8);
  ForceLogit('x', 50);
  GenerationRequest request = Request(Prompt(3), 4);
  request.stop_token_ids = {'x'};
  request.min_tokens = 1;
  const auto reader = Run(request);
  EXPECT_EQ(reader->samples[0].finished->reason, FinishReason::kStopToken);
  EXPECT_EQ(reader->samples[0].tokens.size(), 2);
  EXPECT_NE(reader->samples[0].tokens[0], 'x');
  EXPECT_EQ(reader->samples[0].tokens[1], 'x');
}

TEST_F(EngineTest, StopTextEndsAcrossTokens) {
  Start(8);
  ForceLogit('a', 50);
  GenerationRequest request = Request(Prompt(3), 10);
  request.stop_texts = {"aaa"};
  auto reader = Run(request);
  EXPECT_EQ(reader->samples[0].finished->reason, FinishReason::kStopText);
  EXPECT_EQ(reader->samples[0].finished->stop_text, "aaa");
  EXPECT_EQ(reader->samples[0].text, "");
  EXPECT_EQ(reader->samples[0].tokens.size(), 3);

  request.min_tokens = 5;
  reader = Run(request);
  EXPECT_EQ(reader->samples[0].tokens.size(), 5);
  EXPECT_EQ(reader->samples[0].text, "aa");

  request.min_tokens = 0;
  request.max_tokens = 2;  // the held-back beginning of a stop text is let go at the end
  reader = Run(request);
  EXPECT_EQ(reader->samples[0].finished->reason, FinishReason::kMaxTokens);
  EXPECT_EQ(reader->samples[0].text, "aa");
}

TEST_F(EngineTest, LogprobsComeWithEveryToken) {
  Start(8);
  ForceLogit('a', 50);
  GenerationRequest request = Request(Prompt(3), 2);
  request.logprobs = 3;
  const auto reader = Run(request);
  ASSERT_EQ(reader->samples[0].logprobs.size(), 2);
  for (const PositionLogprobs& position : reader->samples[0].logprobs) {
    EXPECT_EQ(position.chosen.token_id, 'a');
    ASSERT_EQ(position.top.size(), 3);
    EXPECT_EQ(position.top[0].token_id, 'a');
    EXPECT_NEAR(position.top[0].logprob, 0, 1e-5);
    EXPECT_LT(position.top[1].logprob, -40);
  }
}

// Prompts around the page border, long and short outputs, several samples: the second run comes
// from the cache.
TEST_F(EngineTest, APrefixFromTheCacheGivesTheSameTokens) {
  for (const int64_t length : {1, 2, 63, 64, 65, 127, 128, 129, 200}) {
    Start(32);
    GenerationRequest request = Request(Prompt(length), 70);
    request.num_samples = 3;
    const auto first = Run(request);
    const auto second = Run(request);
    EXPECT_EQ(second->accepted->cached_prompt_tokens, (length - 1) / kPageTokens * kPageTokens);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(first->samples[i].tokens, second->samples[i].tokens);
    EXPECT_NE(first->samples[0].tokens, first->samples[1].tokens);
    config_.prefix_reuse = false;
    Start(32);
    const auto third = Run(request);
    EXPECT_EQ(Run(request)->accepted->cached_prompt_tokens, 0);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(first->samples[i].tokens, third->samples[i].tokens);
    EXPECT_EQ(engine_->stats().cached_pages, 0);
    ExpectAllPagesBack();
    config_.prefix_reuse = true;
  }
}

TEST_F(EngineTest, ASampleDoesNotDependOnHowManyThereAre) {
  Start(32);
  GenerationRequest request = Request(Prompt(100), 40);
  const auto one = Run(request);
  request.num_samples = 4;
  const auto four = Run(request);
  EXPECT_EQ(four->samples.size(), 4);
  EXPECT_EQ(four->samples[0].tokens, one->samples[0].tokens);
  for (int i = 1; i < 4; ++i) EXPECT_NE(four->samples[i].tokens, one->samples[0].tokens);
  request.sampling.seed = 18;
  EXPECT_NE(Run(request)->samples[0].tokens, one->samples[0].tokens);
}

TEST_F(EngineTest, DestructionEndsOpenRequests) {
  Start(8);
  EventCollector reader(2);
  ASSERT_TRUE(engine_->Submit(Request(Prompt(10), 400), reader.queue()).ok());
  engine_.reset();
  EXPECT_EQ(reader.ReadAll().code(), absl::StatusCode::kUnavailable);
}

TEST_F(EngineTest, AnswersOfAConversationAreReused) {
  Start(32);
  GenerationRequest request = Request(Prompt(100), 100);
  const auto first = Run(request);
  const std::vector<int32_t>& answer = first->samples[0].tokens;
  request.prompt.insert(request.prompt.end(), answer.begin(), answer.end());
  request.prompt.push_back(1);
  const auto second = Run(request);
  EXPECT_EQ(second->accepted->cached_prompt_tokens, 192);
}

TEST_F(EngineTest, RefusesWhatCanNeverRun) {
  config_.max_running_sequences = 4;
  Start(2);
  EventCollector reader;
  const auto submit = [&](GenerationRequest request) {
    return engine_->Submit(std::move(request), reader.queue()).code();
  };
  EXPECT_EQ(submit(Request({}, 5)), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(submit(Request(Prompt(5), 0)), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(submit(Request(Prompt(4000), 97)), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(submit(Request(Prompt(100), 30)), absl::StatusCode::kResourceExhausted);
  GenerationRequest samples = Request(Prompt(5), 5);
  samples.num_samples = 5;
  EXPECT_EQ(submit(samples), absl::StatusCode::kResourceExhausted);
  Run(Request(Prompt(100), 29));  // exactly the whole cache: the last token is not computed
}

TEST_F(EngineTest, AFailedStepEndsItsRequestsOnly) {
  Start(8);
  const GenerationRequest request = Request(Prompt(70), 10);
  const auto alone = Run(request);
  model_->set_hook(
      [](const Batch&, absl::Span<float>) { return absl::DataLossError("a bit flipped"); });
  EventCollector reader;
  ASSERT_TRUE(engine_->Submit(request, reader.queue()).ok());
  EXPECT_EQ(reader.ReadAll(), absl::DataLossError("a bit flipped"));
  ExpectAllPagesBack();
  model_->set_hook(nullptr);
  EXPECT_EQ(Run(request)->samples[0].tokens, alone->samples[0].tokens);
}

TEST_F(EngineTest, LogitsThatAreNotFiniteEndOneRequest) {
  Start(16);
  const int64_t vocabulary = tokenizer_.vocabulary_size();
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    // Poisons the rows of sequences whose current token is at position 100 or later.
    model_->set_hook([=](const Batch& batch, absl::Span<float> logits) {
      for (size_t r = 0; r < batch.logit_rows.size(); ++r) {
        if (batch.positions[batch.logit_rows[r]] >= 100) logits[r * vocabulary + 3] = bad;
      }
      return absl::OkStatus();
    });
    EventCollector poisoned, healthy;
    GenerationRequest samples = Request(Prompt(98), 10);
    samples.num_samples = 2;
    ASSERT_TRUE(engine_->Submit(samples, poisoned.queue()).ok());
    ASSERT_TRUE(engine_->Submit(Request(Prompt(5), 12), healthy.queue()).ok());
    const absl::Status status = poisoned.ReadAll();
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_NE(status.message().find("not finite"), std::string::npos) << status;
    EXPECT_TRUE(healthy.ReadAll().ok());
    EXPECT_EQ(healthy.samples[0].tokens.size(), 12);
    ExpectAllPagesBack();
  }
}

TEST_F(EngineTest, CancellingFreesPagesWithinOneStep) {
  Start(8);
  std::latch in_step(1), go_on(1);
  model_->set_hook([&](const Batch&, absl::Span<float>) {
    if (!in_step.try_wait()) {
      in_step.count_down();
      go_on.wait();
    }
    return absl::OkStatus();
  });
  EventCollector reader(1000);
  ASSERT_TRUE(engine_->Submit(Request(Prompt(300), 100), reader.queue()).ok());
  in_step.wait();
  reader.queue()->Cancel();
  engine_->Notify();
  go_on.count_down();
  EXPECT_EQ(reader.ReadAll().code(), absl::StatusCode::kCancelled);
  ExpectAllPagesBack();
  EXPECT_EQ(model_->steps(), 1);
}

TEST_F(EngineTest, StopEndsEverythingWithUnavailable) {
  config_.max_running_sequences = 1;
  Start(8);
  EventCollector running(2), waiting(2);  // the first fills its queue and stays
  ASSERT_TRUE(engine_->Submit(Request(Prompt(10), 400), running.queue()).ok());
  ASSERT_TRUE(engine_->Submit(Request(Prompt(10), 400), waiting.queue()).ok());
  engine_->Stop();
  engine_->Stop();
  EXPECT_EQ(running.ReadAll().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(waiting.ReadAll().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(engine_->Submit(Request(Prompt(10), 4), running.queue()).code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(EngineTest, AFullQueueOfRequestsRefusesMore) {
  config_.max_queued_requests = 2;
  Start(8);
  std::latch in_step(1), go_on(1);
  model_->set_hook([&](const Batch&, absl::Span<float>) {
    if (!in_step.try_wait()) {
      in_step.count_down();
      go_on.wait();
    }
    return absl::OkStatus();
  });
  const GenerationRequest request = Request(Prompt(10), 3);
  EventCollector first, second, third, fourth;
  ASSERT_TRUE(engine_->Submit(request, first.queue()).ok());
  in_step.wait();  // the first has left the queue
  EXPECT_TRUE(engine_->Submit(request, second.queue()).ok());
  EXPECT_TRUE(engine_->Submit(request, third.queue()).ok());
  EXPECT_EQ(engine_->Submit(request, fourth.queue()).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(engine_->stats().waiting_requests, 2);
  go_on.count_down();
  for (EventCollector* reader : {&first, &second, &third}) EXPECT_TRUE(reader->ReadAll().ok());
  Run(request);
}

}  // namespace
}  // namespace sieve
