// Steps with draws on the device, one ahead of the host, against the same model's logits drawn from
// on the host.

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "model/checkpoint/checkpoint.h"
#include "model/cuda/cuda_transformer.h"
#include "model/host_step_runner.h"
#include "model/step_runner.h"
#include "tests/model/cuda/step_kernel_llama.h"
#include "tests/testdata/tiny_llama.h"

namespace sieve {
namespace {

using TokenIds = std::vector<int32_t>;

constexpr int64_t kPagesEach = 4;
constexpr int64_t kSteps = 150;

// One that continues its prompt.
struct Stream {
  TokenIds prompt;
  SamplingParams params;
  TokenIds banned;
  std::optional<int32_t> logprobs;
};

struct Generated {
  std::vector<TokenIds> tokens;
  std::vector<std::vector<PositionLogprobs>> logprobs;
};

class CudaStepRunnerTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string path = testing::TempDir() + "/model";
    ASSERT_TRUE(WriteTinyHfFolder(path, StepKernelLlama()).ok());
    auto checkpoint = OpenCheckpoint(path);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    checkpoint_ = *std::move(checkpoint);
    auto model = CreateCudaTransformer(checkpoint_->config(), checkpoint_->weights(),
                                       {.dtype = DType::kBF16,
                                        .cache_pages = 40 * kPagesEach,
                                        .max_step_tokens = 600,
                                        .max_sequences = 40,
                                        .max_context_tokens = kPagesEach * kPageTokens});
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }

  // Prompts in the first step, then a token each a step; `ahead`: a step is submitted before the
  // one before it is collected.
  Generated Run(StepRunner* runner, const std::vector<Stream>& streams, bool ahead,
                int64_t steps = kSteps) {
    Generated out;
    out.tokens.resize(streams.size());
    out.logprobs.resize(streams.size());
    for (int64_t step = 0; step < steps && !HasFailure(); ++step) {
      Submit(runner, streams, step, out, ahead && step > 0);
      if (runner->in_flight() > (ahead ? 1 : 0)) Collect(runner, &out);
    }
    while (runner->in_flight() > 0) Collect(runner, &out);
    EXPECT_EQ(runner->in_flight(), 0);
    return out;
  }

  void Submit(StepRunner* runner, const std::vector<Stream>& streams, int64_t step,
              const Generated& out, bool pending) {
    TokenIds tokens, positions, offsets = {0}, rows, tables(streams.size() * kPagesEach);
    std::iota(tables.begin(), tables.end(), 0);
    std::vector<Draw> draws;
    for (size_t s = 0; s < streams.size(); ++s) {
      const TokenIds& prompt = streams[s].prompt;
      const int32_t first = step == 0 ? 0 : static_cast<int32_t>(prompt.size() + step - 1);
      if (step == 0) {
        tokens.insert(tokens.end(), prompt.begin(), prompt.end());
      } else {
        tokens.push_back(pending ? PendingToken(static_cast<int32_t>(s)) : out.tokens[s].back());
      }
      while (positions.size() < tokens.size()) {
        positions.push_back(first + static_cast<int32_t>(positions.size()) - offsets.back());
      }
      offsets.push_back(static_cast<int32_t>(tokens.size()));
      rows.push_back(static_cast<int32_t>(tokens.size()) - 1);
      Draw draw;
      draw.logit_row = static_cast<int32_t>(s);
      draw.params = &streams[s].params;
      draw.banned = streams[s].banned;
      draw.position = step;
      draw.logprobs = streams[s].logprobs;
      draws.push_back(draw);
    }
    ASSERT_TRUE(runner->CanSubmit());
    const absl::Status status = runner->Submit({.copies = {},
                                                .batch = {.tokens = tokens,
                                                          .positions = positions,
                                                          .offsets = offsets,
                                                          .block_tables = tables,
                                                          .block_table_stride = kPagesEach,
                                                          .logit_rows = rows},
                                                .draws = draws});
    ASSERT_TRUE(status.ok()) << status;
  }

  static void Collect(StepRunner* runner, Generated* out) {
    absl::StatusOr<std::vector<DrawnToken>> drawn = runner->Collect();
    ASSERT_TRUE(drawn.ok()) << drawn.status();
    ASSERT_EQ(drawn->size(), out->tokens.size());
    for (size_t s = 0; s < drawn->size(); ++s) {
      ASSERT_TRUE((*drawn)[s].status.ok()) << (*drawn)[s].status;
      out->tokens[s].push_back((*drawn)[s].token);
      out->logprobs[s].push_back((*drawn)[s].logprobs);
    }
  }

  static std::vector<Stream> Streams(int count) {
    std::vector<Stream> streams(count);
    for (int s = 0; s < count; ++s) {
      Stream& stream = streams[s];
      for (int i = 0; i < 1 + s * 7 % 20; ++i) {
        stream.prompt.push_back((i * 37 + s * 101 + i * i) % kTinyTokens);
      }
      SamplingParams& params = stream.params;
      params.seed = 1000 + s;
      params.temperature = s % 5 == 0 ? 0 : 0.5f + s % 3;
      params.top_k = s % 4 == 1 ? 20 : 0;
      params.top_p = s % 3 == 1 ? 0.9f : 1;
      params.min_p = s % 7 == 2 ? 0.05f : 0;
      if (s % 6 == 3) params.logit_bias = {{5, 4.0f}, {9, -100.0f}};
      if (s % 4 == 2) stream.banned = {1, 5, 77};
      if (s % 3 == 0) stream.logprobs = s % 8;
    }
    return streams;
  }

  static void ExpectSame(const Generated& a, const Generated& b) {
    EXPECT_EQ(a.tokens, b.tokens);
    for (size_t s = 0; s < a.logprobs.size(); ++s) {
      SCOPED_TRACE(s);
      ASSERT_EQ(a.logprobs[s].size(), b.logprobs[s].size());
      for (size_t i = 0; i < a.logprobs[s].size(); ++i) {
        ExpectSame(a.logprobs[s][i], b.logprobs[s][i]);
      }
    }
  }
  static void ExpectSame(const PositionLogprobs& a, const PositionLogprobs& b) {
    EXPECT_EQ(a.chosen.token_id, b.chosen.token_id);
    EXPECT_NEAR(a.chosen.logprob, b.chosen.logprob, 2e-5);
    ASSERT_EQ(a.top.size(), b.top.size());
    for (size_t k = 0; k < a.top.size(); ++k) {
      EXPECT_EQ(a.top[k].token_id, b.top[k].token_id);
      EXPECT_NEAR(a.top[k].logprob, b.top[k].logprob, 2e-5);
    }
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Transformer> model_;
};

// One kernel up to eight, padded buckets, and as many as there may be.
TEST_F(CudaStepRunnerTest, TheDeviceDrawsWhatTheHostDraws) {
  HostStepRunner host(model_.get());
  for (const int count : {1, 3, 8, 9, 29, 40}) {
    SCOPED_TRACE(count);
    const std::vector<Stream> streams = Streams(count);
    const Generated expected = Run(&host, streams, /*ahead=*/false);
    ExpectSame(Run(model_->step_runner(), streams, /*ahead=*/false), expected);
    ExpectSame(Run(model_->step_runner(), streams, /*ahead=*/true), expected);
  }
}

// As small as can be, for compute-sanitizer; see tests/gpu.sh.
TEST_F(CudaStepRunnerTest, FewStepsAhead) {
  HostStepRunner host(model_.get());
  std::vector<Stream> streams = Streams(9);
  for (const int count : {9, 2}) {
    streams.resize(count);
    ExpectSame(Run(model_->step_runner(), streams, true, 3), Run(&host, streams, false, 3));
  }
}

// Draws that the device's sampler does not take are the host's, and the step after them goes on.
TEST_F(CudaStepRunnerTest, TheHostDrawsWhatTheDeviceCannot) {
  HostStepRunner host(model_.get());
  std::vector<Stream> streams = Streams(5);
  streams[2].params.logit_bias = {{4, 1.0f}, {4, 2.0f}};
  const Generated expected = Run(&host, streams, /*ahead=*/false, 20);
  ExpectSame(Run(model_->step_runner(), streams, /*ahead=*/true, 20), expected);
}

TEST_F(CudaStepRunnerTest, SamplesOfOnePromptDrawFromOneRow) {
  const std::vector<Stream> streams = Streams(3);
  for (StepRunner* runner : {static_cast<StepRunner*>(nullptr), model_->step_runner()}) {
    HostStepRunner host(model_.get());
    if (runner == nullptr) runner = &host;
    SamplingParams params;
    params.seed = 3;
    params.logit_bias = {{7, 2.0f}};
    std::vector<Draw> draws(6);
    for (int i = 0; i < 6; ++i) draws[i].params = &params, draws[i].sample = i;
    const TokenIds tokens = {3, 1, 4, 1, 5}, positions = {0, 1, 2, 3, 4}, offsets = {0, 5};
    const TokenIds pages = {2}, rows = {4};
    ASSERT_TRUE(runner
                    ->Submit({.copies = {},
                              .batch = {.tokens = tokens,
                                        .positions = positions,
                                        .offsets = offsets,
                                        .block_tables = pages,
                                        .block_table_stride = 1,
                                        .logit_rows = rows},
                              .draws = draws})
                    .ok());
    absl::StatusOr<std::vector<DrawnToken>> drawn = runner->Collect();
    ASSERT_TRUE(drawn.ok()) << drawn.status();
    TokenIds got;
    for (const DrawnToken& d : *drawn) got.push_back(d.token);
    static TokenIds expected;
    if (expected.empty()) expected = got;
    EXPECT_EQ(got, expected);
  }
}

TEST_F(CudaStepRunnerTest, ErrorsOfADrawAreItsOwn) {
  std::vector<Stream> streams = Streams(2);
  streams[1].banned.resize(model_->vocabulary_size());
  std::iota(streams[1].banned.begin(), streams[1].banned.end(), 0);
  StepRunner* const runner = model_->step_runner();
  Submit(runner, streams, 0, {}, false);
  absl::StatusOr<std::vector<DrawnToken>> drawn = runner->Collect();
  ASSERT_TRUE(drawn.ok()) << drawn.status();
  EXPECT_TRUE((*drawn)[0].status.ok());
  EXPECT_EQ((*drawn)[1].status, NoTokenLeftError());
  EXPECT_TRUE(runner->Broken().ok());
}

// A malformed step is refused and leaves nothing behind.
TEST_F(CudaStepRunnerTest, AStepThatIsRefusedIsNotInFlight) {
  StepRunner* const runner = model_->step_runner();
  const TokenIds tokens = {PendingToken(0)}, positions = {0}, offsets = {0, 1}, pages = {0};
  EXPECT_FALSE(runner
                   ->Submit({.copies = {},
                             .batch = {.tokens = tokens,
                                       .positions = positions,
                                       .offsets = offsets,
                                       .block_tables = pages,
                                       .block_table_stride = 1,
                                       .logit_rows = {}},
                             .draws = {}})
                   .ok());
  EXPECT_EQ(runner->in_flight(), 0);
  EXPECT_TRUE(runner->Broken().ok());
  HostStepRunner host(model_.get());
  const std::vector<Stream> streams = Streams(4);
  ExpectSame(Run(runner, streams, true, 20), Run(&host, streams, false, 20));
}

}  // namespace
}  // namespace sieve
