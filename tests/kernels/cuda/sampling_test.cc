#include "kernels/cuda/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "model/sampling/counter_random.h"
#include "model/sampling/logprobs.h"
#include "model/sampling/sampler.h"
#include "tests/kernels/cuda/device_buffer.h"

namespace sieve::cuda {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kMax = std::numeric_limits<float>::max();

// A row and how to draw from it, as the CPU's sampler takes it.
struct Draw {
  std::vector<float> logits;
  sieve::SamplingParams params;
  std::vector<int32_t> prompt, generated, banned;
  int32_t sample = 0;
  int64_t position = 0;
  int32_t num_logprobs = -1;
};

TokenHistory HistoryOf(const Draw& draw) {
  TokenHistory history(draw.prompt);
  for (const int32_t token : draw.generated) history.Append(token);
  return history;
}

std::string Describe(const Draw& draw) {
  const sieve::SamplingParams& p = draw.params;
  return testing::PrintToString(std::vector<float>{p.temperature, 1.0f * p.top_k, p.top_p, p.min_p,
                                                   p.repetition_penalty, p.presence_penalty,
                                                   p.frequency_penalty}) +
         " bias " + std::to_string(p.logit_bias.size()) + " banned " +
         std::to_string(draw.banned.size()) + " seed " + std::to_string(p.seed) + " position " +
         std::to_string(draw.position);
}

// Rows on the device, with the arrays that Sample wants.
class Batch {
 public:
  // Rows begin `padding` floats after the end of the one before.
  explicit Batch(const std::vector<Draw>& draws, int64_t padding = 0)
      : draws_(draws),
        stride_(draws[0].logits.size() + padding),
        logits_(Logits()),
        rows_(Rows()),
        adjustments_(list_),
        workspace_(SampleWorkspaceBytes(list_.size()) + 1),
        tokens_(draws.size()),
        errors_(draws.size()),
        logprobs_(draws.size()),
        top_tokens_(draws.size() * top_stride_ + 1),
        top_logprobs_(draws.size() * top_stride_ + 1) {}

  SampleParams Params() const {
    SampleParams p;
    p.logits = logits_.get();
    p.logits_stride = stride_;
    p.vocabulary = draws_[0].logits.size();
    p.num_rows = draws_.size();
    p.rows = rows_.get();
    p.adjustments = adjustments_.get();
    p.workspace = workspace_.get();
    p.tokens = tokens_.get();
    p.errors = errors_.get();
    p.logprobs = logprobs_.get();
    p.top_tokens = top_tokens_.get();
    p.top_logprobs = top_logprobs_.get();
    p.top_stride = top_stride_;
    return p;
  }

  // Everything that Sample wrote is what the CPU's sampler says.
  void ExpectAsOnTheCpu() const {
    Check(cudaDeviceSynchronize());
    const std::vector<int32_t> tokens = tokens_.Read();
    const std::vector<SampleError> errors = errors_.Read();
    Sampler sampler;
    int wrong = 0;
    for (size_t i = 0; i < draws_.size() && wrong < 3; ++i) {
      const Draw& draw = draws_[i];
      const TokenHistory history = HistoryOf(draw);
      const absl::StatusOr<int32_t> want =
          sampler.Draw(draw.logits, draw.params, &history, draw.banned,
                       UniformAt(draw.params.seed, draw.sample, draw.position));
      const SampleError error = want.ok()                         ? SampleError::kNone
                                : absl::IsInternal(want.status()) ? SampleError::kNotFinite
                                                                  : SampleError::kNoTokenLeft;
      EXPECT_EQ(errors[i], error) << "row " << i << " " << Describe(draw);
      EXPECT_EQ(tokens[i], want.value_or(0)) << "row " << i << " " << Describe(draw);
      wrong += tokens[i] != want.value_or(0) || errors[i] != error;
      if (want.ok() && draw.num_logprobs >= 0) ExpectLogprobs(i, *want);
    }
    const std::vector<float> after = logits_.Read(), before = Logits();
    EXPECT_EQ(std::memcmp(after.data(), before.data(), after.size() * sizeof(float)), 0);
  }

 private:
  std::vector<float> Logits() const {
    std::vector<float> all(draws_.size() * stride_, std::nanf(""));
    for (size_t i = 0; i < draws_.size(); ++i) {
      std::copy(draws_[i].logits.begin(), draws_[i].logits.end(), all.begin() + i * stride_);
    }
    return all;
  }

  std::vector<SamplingRow> Rows() {
    std::vector<SamplingRow> rows;
    for (const Draw& draw : draws_) {
      const sieve::SamplingParams& p = draw.params;
      SamplingRow row = {p.temperature,
                         p.top_k,
                         p.top_p,
                         p.min_p,
                         p.repetition_penalty,
                         p.presence_penalty,
                         p.frequency_penalty,
                         draw.num_logprobs,
                         p.seed,
                         draw.position,
                         draw.sample,
                         static_cast<int32_t>(list_.size())};
      AddAdjustments(draw);
      row.adjustments_end = list_.size();
      rows.push_back(row);
      top_stride_ = std::max<int64_t>(top_stride_, draw.num_logprobs);
    }
    return rows;
  }

  void AddAdjustments(const Draw& draw) {
    std::map<int32_t, TokenAdjustment> changes;
    const TokenHistory history = HistoryOf(draw);
    if (HasPenalties(draw.params)) {
      for (const auto& [token, count] : history.counts()) changes[token].count = count;
    }
    for (const auto& [token, bias] : draw.params.logit_bias) changes[token].bias = bias;
    for (const int32_t token : draw.banned) changes[token].bias = -kInfinity;
    for (auto& [token, change] : changes) {
      change.token = token;
      list_.push_back(change);
    }
  }

  void ExpectLogprobs(size_t i, int32_t token) const {
    const Draw& draw = draws_[i];
    const PositionLogprobs want = LogprobsOf(draw.logits, token, draw.num_logprobs);
    const auto near = [](float a, float b) {
      return a == b || std::abs(a - b) <= 1e-5f * (1 + std::abs(b));  // may be -infinity
    };
    EXPECT_TRUE(near(logprobs_.Read()[i], want.chosen.logprob))
        << i << ": " << logprobs_.Read()[i] << " " << want.chosen.logprob;
    const std::vector<int32_t> top_tokens = top_tokens_.Read();
    const std::vector<float> top_logprobs = top_logprobs_.Read();
    for (int32_t j = 0; j < draw.num_logprobs; ++j) {
      const bool there = j < want.top.size();
      ASSERT_EQ(top_tokens[i * top_stride_ + j], there ? want.top[j].token_id : -1)
          << i << " " << j;
      if (!there) continue;
      ASSERT_TRUE(near(top_logprobs[i * top_stride_ + j], want.top[j].logprob)) << i << " " << j;
    }
  }

  const std::vector<Draw>& draws_;
  int64_t stride_;
  std::vector<TokenAdjustment> list_;
  int64_t top_stride_ = 0;
  DeviceBuffer<float> logits_;
  DeviceBuffer<SamplingRow> rows_;
  DeviceBuffer<TokenAdjustment> adjustments_;
  DeviceBuffer<char> workspace_;
  DeviceBuffer<int32_t> tokens_;
  DeviceBuffer<SampleError> errors_;
  DeviceBuffer<float> logprobs_;
  DeviceBuffer<int32_t> top_tokens_;
  DeviceBuffer<float> top_logprobs_;
};

void ExpectSame(const std::vector<Draw>& draws, int64_t padding = 0) {
  const Batch batch(draws, padding);
  Check(Sample(batch.Params(), nullptr));
  batch.ExpectAsOnTheCpu();
}

// Rows of many shapes: spread, narrow, with ties, flat, with extremes.
std::vector<float> RandomLogits(int32_t vocabulary, std::mt19937* random) {
  const int kind = (*random)() % 8;
  const float deviations[] = {3, 1, 0.1f, 10, 3, 1, 1e-6f, 1e4f};
  std::normal_distribution<float> normal(kind % 3, deviations[kind]);
  std::vector<float> logits(vocabulary);
  for (float& logit : logits) logit = normal(*random);
  if (kind == 4) {
    for (float& logit : logits) logit = std::round(logit);  // -0 too
  } else if (kind == 5) {
    std::fill(logits.begin(), logits.end(), -1.5f);
  } else if (kind == 0 && (*random)() % 2 == 0) {
    logits[(*random)() % vocabulary] = kMax;
    logits[(*random)() % vocabulary] = -kMax;
  }
  return logits;
}

template <typename T>
T OneOf(std::initializer_list<T> values, std::mt19937* random) {
  return values.begin()[(*random)() % values.size()];
}

Draw RandomDraw(int32_t vocabulary, std::mt19937* random) {
  Draw draw;
  draw.logits = RandomLogits(vocabulary, random);
  sieve::SamplingParams& p = draw.params;
  p.temperature = OneOf({1.0f, 0.7f, 1.3f, 0.0f, 100.0f, 1e-3f, 1e-45f}, random);
  p.top_k = OneOf({0, 0, 0, 1, 2, 40, 500, 5000, vocabulary - 1, vocabulary}, random);
  p.top_p = OneOf({1.0f, 1.0f, 0.9f, 0.5f, 0.99f, 1e-30f, 0.99999994f}, random);
  p.min_p = OneOf({0.0f, 0.0f, 0.0f, 0.05f, 1e-6f, 1e-30f, 1.0f}, random);
  p.seed = uint64_t{(*random)()} << 32 | (*random)();
  draw.sample = (*random)() % 4;
  draw.position = (*random)() % 100000;
  const auto tokens = [&](int32_t most) {
    std::vector<int32_t> result((*random)() % (most + 1));
    for (int32_t& token : result) token = (*random)() % vocabulary;
    return result;
  };
  if ((*random)() % 3 == 0) {
    p.repetition_penalty = OneOf({1.0f, 1.2f, 0.5f, 1e-45f}, random);
    p.presence_penalty = OneOf({0.0f, 0.7f, -3.0f}, random);
    p.frequency_penalty = OneOf({0.0f, 0.3f, -1.1f}, random);
    draw.prompt = tokens(3000);
    draw.generated = tokens(100);
  }
  if ((*random)() % 4 == 0) {
    std::set<int32_t> biased;
    for (const int32_t token : tokens(20)) biased.insert(token);
    for (const int32_t token : biased) {
      p.logit_bias.emplace_back(token, OneOf({5.0f, -100.0f, 0.25f, 100.0f}, random));
    }
  }
  if ((*random)() % 4 == 0) draw.banned = tokens(3);
  draw.num_logprobs = OneOf({-1, -1, -1, 0, 1, 5, 20, 1024}, random);
  return draw;
}

std::vector<Draw> RandomDraws(int64_t rows, int32_t vocabulary, std::mt19937* random) {
  std::vector<Draw> draws;
  for (int64_t i = 0; i < rows; ++i) draws.push_back(RandomDraw(vocabulary, random));
  return draws;
}

Draw Simple(std::vector<float> logits, float temperature = 1, int32_t top_k = 0, float top_p = 1,
            float min_p = 0) {
  Draw draw;
  draw.logits = std::move(logits);
  draw.params.temperature = temperature;
  draw.params.top_k = top_k;
  draw.params.top_p = top_p;
  draw.params.min_p = min_p;
  return draw;
}

class CudaSamplingSweep : public testing::TestWithParam<std::tuple<int32_t, int64_t>> {};

TEST_P(CudaSamplingSweep, RandomRowsAreAsOnTheCpu) {
  const auto [vocabulary, rows] = GetParam();
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  ExpectSame(RandomDraws(rows, vocabulary, &random));
}

INSTANTIATE_TEST_SUITE_P(Small, CudaSamplingSweep,
                         testing::Combine(testing::Values(1, 31, 257, 1000, 4096, 9000),
                                          testing::Values(1, 2, 33, 128, 1000)));
INSTANTIATE_TEST_SUITE_P(Large, CudaSamplingSweep,
                         testing::Combine(testing::Values(49152, 128256, 128255),
                                          testing::Values(1, 2, 40, 128, 256)));

TEST(CudaSamplingTest, ManyDrawsOfOneRow) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (const int32_t top_k : {0, 50}) {
    for (const float top_p : {1.0f, 0.9f}) {
      std::normal_distribution<float> normal(0, 2);
      std::vector<float> logits(5000);
      for (float& logit : logits) logit = normal(random);
      std::vector<Draw> draws(1000, Simple(logits, 1, top_k, top_p));
      for (size_t i = 0; i < draws.size(); ++i) draws[i].position = i;
      ExpectSame(draws);
    }
  }
}

TEST(CudaSamplingTest, RowsThatAreNotAligned) {
  std::mt19937 random(5);
  for (const int64_t padding : {1, 2, 4}) ExpectSame(RandomDraws(20, 32000, &random), padding);
}

TEST(CudaSamplingTest, RefusesRowsWithoutAnAnswer) {
  for (const int32_t vocabulary : {8, 20000}) {
    std::vector<Draw> draws;
    for (const float bad : {std::nanf(""), -std::nanf(""), kInfinity, -kInfinity}) {
      for (const int32_t at : {0, 5, vocabulary - 1}) {
        for (const float temperature : {0.0f, 1.0f}) {
          Draw draw = Simple(std::vector<float>(vocabulary, 1.0f), temperature);
          draw.logits[at] = bad;
          draw.num_logprobs = 2;
          draws.push_back(draw);
        }
      }
    }
    draws.push_back(Simple(std::vector<float>(vocabulary, kMax)));
    for (const float temperature : {0.0f, 1.0f}) {
      Draw draw = Simple(std::vector<float>(vocabulary, 2.0f), temperature, 2, 0.5f, 0.1f);
      for (int32_t i = 0; i < vocabulary; ++i) draw.banned.push_back(i);
      draws.push_back(draw);
      draw.banned.pop_back();
      draws.push_back(draw);
    }
    ExpectSame(draws);
  }
}

// Many tokens in one bin of the histogram: ties, and an outlier that stretches it.
TEST(CudaSamplingTest, CrowdedRows) {
  const int32_t vocabulary = 128256;
  std::mt19937 random(6);
  std::normal_distribution<float> normal(0, 1e-5f);
  std::vector<float> flat(vocabulary, 0.0f), close(vocabulary), two(vocabulary);
  for (int32_t i = 0; i < vocabulary; ++i) {
    close[i] = normal(random);
    two[i] = i % 3 == 0 ? 1.0f : 0.5f;
  }
  std::vector<float> stretched = close;
  stretched[77] = 20;
  stretched[78] = -1e30f;
  std::vector<Draw> draws;
  for (const std::vector<float>& logits : {flat, close, two, stretched}) {
    for (const int32_t top_k : {0, 3, 30000, 100000}) {
      for (const float top_p : {1.0f, 0.3f, 0.9f}) {
        draws.push_back(Simple(logits, 1, top_k, top_p));
        draws.back().num_logprobs = 20;
        draws.back().params.seed = draws.size();
      }
    }
  }
  ExpectSame(draws);
  for (size_t i = 0; i < draws.size(); i += 7) ExpectSame({draws[i]});
}

TEST(CudaSamplingTest, IsReplayedFromAGraph) {
  std::mt19937 random(7);
  const std::vector<Draw> draws = RandomDraws(12, 32000, &random);
  const Batch batch(draws);
  cudaStream_t stream;
  Check(cudaStreamCreate(&stream));
  Check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  Check(Sample(batch.Params(), stream));
  cudaGraph_t graph;
  Check(cudaStreamEndCapture(stream, &graph));
  cudaGraphExec_t exec;
  Check(cudaGraphInstantiate(&exec, graph, 0));
  for (int i = 0; i < 3; ++i) Check(cudaGraphLaunch(exec, stream));
  batch.ExpectAsOnTheCpu();
  Check(cudaGraphExecDestroy(exec));
  Check(cudaGraphDestroy(graph));
  Check(cudaStreamDestroy(stream));
}

}  // namespace
}  // namespace sieve::cuda
