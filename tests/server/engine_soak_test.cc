// Many requests at once against a small cache, with readers that cancel, dawdle and run out of
// time. Every token must be the one that the same request gets alone, and in the end every page
// must be back.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "server/engine.h"
#include "tests/server/event_collector.h"
#include "tests/server/fake_language_model.h"
#include "tests/server/fake_tokenizer.h"

namespace sieve {
namespace {

constexpr int kKinds = 16;  // of requests
constexpr int kReaders = 6;
constexpr int kRequestsPerReader = 40;

struct Fixture {
  Fixture(const EngineConfig& config, int64_t num_pages)
      : model(tokenizer.vocabulary_size(), num_pages),
        engine(Engine::Create(config, &model, &tokenizer, nullptr)) {}

  FakeTokenizer tokenizer{{"STOP", "\xc3\xa9", "lo"}};
  FakeLanguageModel model;
  std::unique_ptr<Engine> engine;
};

std::vector<GenerationRequest> MakeRequests(uint32_t seed) {
  std::mt19937 random(seed);
  const auto below = [&](int n) { return static_cast<int>(random() % n); };
  std::vector<GenerationRequest> requests(kKinds);
  for (GenerationRequest& request : requests) {
    // Few distinct beginnings, lengths around page borders.
    const int length = std::max(1, 64 * below(4) + below(5) - 2 + 30 * below(2));
    const int kind = below(2);
    for (int i = 0; i < length; ++i) request.prompt.push_back(i < 130 ? kind : below(200));
    request.num_samples = 1 + below(3);
    request.max_tokens = 1 + below(90);
    request.min_tokens = below(3) == 0 ? below(request.max_tokens) : 0;
    request.priority = below(5) - 2;
    request.tenant = std::string(1, 'a' + below(3));
    request.tenant_weight = 1 + below(3);
    request.ignore_eos = below(2) == 0;
    request.sampling.seed = random();
    request.sampling.temperature = below(4) == 0 ? 0 : 0.5f + below(3);
    request.sampling.top_k = below(2) * below(40);
    request.sampling.top_p = below(2) == 0 ? 1 : 0.9f;
    request.sampling.min_p = below(2) == 0 ? 0 : 0.02f;
    request.sampling.repetition_penalty = below(2) == 0 ? 1 : 1.2f;
    request.sampling.frequency_penalty = below(2) * 0.1f;
    if (below(3) == 0) request.stop_texts = {"a", "lob"};
    if (below(3) == 0) request.stop_token_ids = {7, 200};
    if (below(4) == 0) request.logprobs = 2;
  }
  return requests;
}

// Each request by itself in a cache that is large enough, without reuse and in one chunk.
std::vector<std::map<int32_t, CollectedSample>> RunAlone(
    const std::vector<GenerationRequest>& requests) {
  EngineConfig config;
  config.context_length = 1024;
  config.prefix_reuse = false;
  std::vector<std::map<int32_t, CollectedSample>> results;
  for (const GenerationRequest& request : requests) {
    Fixture fixture(config, 64);
    EventCollector reader(1000);
    EXPECT_TRUE(fixture.engine->Submit(request, reader.queue()).ok());
    EXPECT_TRUE(reader.ReadAll().ok());
    EXPECT_EQ(fixture.model.error(), "");
    results.push_back(std::move(reader.samples));
  }
  return results;
}

class Reader {
 public:
  Reader(Engine* engine, const std::vector<GenerationRequest>& requests,
         const std::vector<std::map<int32_t, CollectedSample>>& alone, uint32_t seed)
      : engine_(engine), requests_(requests), alone_(alone), random_(seed) {}

  void Run() {
    for (int i = 0; i < kRequestsPerReader; ++i) RunOne(Below(kKinds));
  }

  int finished() const { return finished_; }

  static void Compare(const EventCollector& reader, const std::map<int32_t, CollectedSample>& alone,
                      bool complete);

 private:
  int Below(int n) { return static_cast<int>(random_() % n); }

  void RunOne(int kind) {
    GenerationRequest request = requests_[kind];
    const bool impatient = Below(8) == 0;
    const bool fickle = !impatient && Below(5) == 0;
    const int dawdles = Below(4) == 0 ? 1 + Below(3) : 0;
    if (impatient) request.deadline = absl::Now() + absl::Milliseconds(Below(20));
    EventCollector reader(1 + Below(6));
    if (const absl::Status status = engine_->Submit(request, reader.queue()); !status.ok()) {
      EXPECT_TRUE(impatient && absl::IsDeadlineExceeded(status)) << status;
      return;
    }
    int until_cancel = fickle ? Below(30) : -1;
    const absl::Status status = reader.ReadAll([&] {
      if (until_cancel-- == 0) reader.queue()->Cancel();
      if (dawdles > 0 && Below(8) == 0) absl::SleepFor(absl::Milliseconds(dawdles));
      engine_->Notify();
    });
    EXPECT_EQ(reader.error, "");
    const bool expected = status.ok() || (fickle && absl::IsCancelled(status)) ||
                          (impatient && absl::IsDeadlineExceeded(status));
    EXPECT_TRUE(expected) << status;
    Compare(reader, alone_[kind], status.ok());
    finished_ += status.ok();
  }

  Engine* const engine_;
  const std::vector<GenerationRequest>& requests_;
  const std::vector<std::map<int32_t, CollectedSample>>& alone_;
  std::mt19937 random_;
  int finished_ = 0;
};

void Reader::Compare(const EventCollector& reader, const std::map<int32_t, CollectedSample>& alone,
                     bool complete) {
  ASSERT_TRUE(!complete || reader.samples.size() == alone.size());
  for (const auto& [i, sample] : reader.samples) {
    const CollectedSample& expected = alone.at(i);
    ASSERT_LE(sample.tokens.size(), expected.tokens.size());
    EXPECT_TRUE(std::equal(sample.tokens.begin(), sample.tokens.end(), expected.tokens.begin()));
    EXPECT_EQ(sample.text, expected.text.substr(0, sample.text.size()));
    if (!complete) continue;
    EXPECT_EQ(sample.tokens.size(), expected.tokens.size());
    EXPECT_EQ(sample.text, expected.text);
    EXPECT_EQ(sample.logprobs.size(), expected.logprobs.size());
    ASSERT_TRUE(sample.finished);
    EXPECT_EQ(sample.finished->reason, expected.finished->reason);
    EXPECT_EQ(sample.finished->stop_text, expected.finished->stop_text);
  }
}

struct Shape {
  int64_t max_step_tokens, max_running_sequences, num_pages;
  bool prefix_reuse;
};

class EngineSoakTest : public testing::TestWithParam<Shape> {};

TEST_P(EngineSoakTest, SameTokensAsAloneAndNoPageLost) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  const std::vector<GenerationRequest> requests = MakeRequests(seed);
  const auto alone = RunAlone(requests);
  EngineConfig config;
  config.context_length = 1024;
  config.max_step_tokens = GetParam().max_step_tokens;
  config.max_running_sequences = GetParam().max_running_sequences;
  config.prefix_reuse = GetParam().prefix_reuse;
  Fixture fixture(config, GetParam().num_pages);
  std::vector<Reader> readers;
  for (int i = 0; i < kReaders; ++i) {
    readers.emplace_back(fixture.engine.get(), requests, alone, seed + i);
  }
  // Whatever moment a scrape looks at, somebody is named for every page.
  std::atomic<bool> done = false;
  std::thread scrape([&] {
    while (!done) {
      const EngineStats stats = fixture.engine->stats();
      ASSERT_NEAR(stats.attributed_pages, stats.active_pages, 1e-6);
      ASSERT_EQ(stats.free_pages + stats.cached_pages + stats.active_pages, stats.total_pages);
      ASSERT_EQ(stats.waiting_by_priority[0] + stats.waiting_by_priority[1] +
                    stats.waiting_by_priority[2],
                stats.waiting_requests);
      absl::SleepFor(absl::Milliseconds(1));
    }
  });
  std::vector<std::thread> threads;
  for (Reader& reader : readers) threads.emplace_back([&reader] { reader.Run(); });
  for (std::thread& thread : threads) thread.join();
  done = true;
  scrape.join();

  int finished = 0;
  for (const Reader& reader : readers) finished += reader.finished();
  EXPECT_GT(finished, kReaders * kRequestsPerReader / 4);
  EXPECT_EQ(fixture.model.error(), "");
  const EngineStats stats = fixture.engine->stats();
  EXPECT_EQ(stats.active_pages, 0);
  EXPECT_EQ(stats.free_pages + stats.cached_pages, stats.total_pages);
  EXPECT_EQ(stats.running_sequences, 0);
  EXPECT_EQ(stats.waiting_requests, 0);
  EXPECT_EQ(stats.waiting_prompt_tokens, 0);
  EXPECT_NEAR(stats.attributed_pages, 0, 1e-6);
  EXPECT_EQ(stats.prompt_tokens_cached > 0, config.prefix_reuse);
  RecordProperty("preemptions", std::to_string(stats.preemptions));
}

// Draining in the middle of it: who has begun gets the whole answer, who has not gets nothing but
// UNAVAILABLE, and nobody is left.
TEST_P(EngineSoakTest, DrainingCutsNobodyOff) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  const std::vector<GenerationRequest> requests = MakeRequests(seed);
  const auto alone = RunAlone(requests);
  EngineConfig config;
  config.context_length = 1024;
  config.max_step_tokens = GetParam().max_step_tokens;
  config.max_running_sequences = GetParam().max_running_sequences;
  config.prefix_reuse = GetParam().prefix_reuse;
  Fixture fixture(config, GetParam().num_pages);
  std::vector<std::unique_ptr<EventCollector>> readers;
  std::vector<int> kinds;
  for (int i = 0; i < 100; ++i) {
    readers.push_back(std::make_unique<EventCollector>(10000));
    kinds.push_back(i % kKinds);
    ASSERT_TRUE(fixture.engine->Submit(requests[kinds[i]], readers[i]->queue()).ok());
  }
  while (fixture.engine->stats().generated_tokens < 50) absl::SleepFor(absl::Microseconds(100));
  fixture.engine->Drain();
  int finished = 0;
  for (size_t i = 0; i < readers.size(); ++i) {
    const absl::Status status = readers[i]->ReadAll();
    EXPECT_EQ(status.ok(), readers[i]->accepted.has_value()) << status;
    EXPECT_TRUE(status.ok() || absl::IsUnavailable(status)) << status;
    Reader::Compare(*readers[i], alone[kinds[i]], status.ok());
    finished += status.ok();
  }
  EXPECT_GT(finished, 0);
  const EngineStats stats = fixture.engine->stats();
  EXPECT_EQ(stats.active_pages, 0);
  EXPECT_EQ(stats.running_sequences + stats.waiting_requests, 0);
}

INSTANTIATE_TEST_SUITE_P(Shapes, EngineSoakTest,
                         testing::Values(Shape{512, 64, 100, true}, Shape{32, 8, 12, true},
                                         Shape{7, 3, 5, true}, Shape{100, 16, 8, false}));

}  // namespace
}  // namespace sieve
