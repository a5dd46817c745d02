#include "model/attention/nsa_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <ostream>
#include <string>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/elementwise.h"
#include "kernels/paged_attention.h"
#include "model/attention/dense_attention.h"
#include "model/attention/summary_layout.h"
#include "model/cache/kv_cache.h"
#include "tests/kernels/random_data.h"
#include "tests/model/attention/nsa_reference.h"
#include "tests/model/attention/random_adapter.h"

namespace sieve {
namespace {

struct Shape {
  int64_t heads = 4;
  int64_t kv_heads = 2;
  int64_t head_dim = 16;
  bool rope_interleaved = false;
};

ModelConfig ModelOf(const Shape& shape) {
  ModelConfig model;
  model.hidden_size = 24;
  model.num_layers = 1;
  model.num_heads = shape.heads;
  model.num_kv_heads = shape.kv_heads;
  model.head_dim = shape.head_dim;
  model.rope_interleaved = shape.rope_interleaved;
  return model;
}

// A sequence with random keys, values and queries, and the layer that attends to it.
class Layer {
 public:
  Layer(std::mt19937_64& random, const Shape& shape, const AdapterConfig& config, int64_t tokens,
        int64_t prompt = 0, int threads = 2)
      : model_(ModelOf(shape)), pool_(threads) {
    sequence_.config = WithShapeOf(model_, config);
    const auto adapter = RandomAdapter(random, sequence_.config);
    sequence_.layer = adapter->layers[0];
    sequence_.tokens = tokens;
    sequence_.prompt = prompt;
    const int64_t d = shape.head_dim;
    sequence_.q = RandomFloats(random, tokens * shape.heads * d, 2);
    sequence_.k = RandomFloats(random, tokens * shape.kv_heads * d);
    sequence_.v = RandomFloats(random, tokens * shape.kv_heads * d);
    sequence_.hidden = RandomFloats(random, tokens * model_.hidden_size);
    sequence_.frequencies = RopeFrequencies(model_);
    sequence_.rope_interleaved = shape.rope_interleaved;
    const CacheGeometry geometry = {
        .num_layers = 1,
        .num_kv_heads = shape.kv_heads,
        .head_dim = d,
        .dtype = DType::kF32,
        .summary_bytes = SummaryLayoutOf(sequence_.config, DType::kF32).bytes};
    const int64_t pages = tokens / kPageTokens + 2;
    cache_ = *KvCache::Create(geometry, pages);
    // What no one has written is NaN.
    std::memset(cache_->Layer(0).base, 0xff, cache_->bytes());
    table_.resize(pages);
    std::iota(table_.begin(), table_.end(), 0);
    std::shuffle(table_.begin(), table_.end(), random);
    auto attention = NsaAttention::Create(model_, geometry, adapter);
    EXPECT_TRUE(attention.ok()) << attention.status();
    attention_ = *std::move(attention);
  }

  NsaSequence& sequence() { return sequence_; }
  int64_t row() const { return model_.num_heads * model_.head_dim; }

  // The output of positions [begin, end), as one step.
  std::vector<float> Step(int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) Store(t);
    return Run(*attention_, begin, end);
  }

  std::vector<float> Dense(int64_t begin, int64_t end) {
    return Run(DenseAttention(model_.num_heads, model_.num_kv_heads, model_.head_dim), begin, end);
  }

  // In steps that end where `next` says.
  std::vector<float> Steps(const std::function<int64_t(int64_t)>& next) {
    std::vector<float> out;
    for (int64_t t = 0; t < sequence_.tokens;) {
      const int64_t end = std::min(next(t), sequence_.tokens);
      const std::vector<float> part = Step(t, end);
      out.insert(out.end(), part.begin(), part.end());
      t = end;
    }
    return out;
  }
  std::vector<float> Whole() { return Step(0, sequence_.tokens); }

 private:
  void Store(int64_t t) {
    const int64_t d = model_.head_dim;
    for (int64_t g = 0; g < model_.num_kv_heads; ++g) {
      const int64_t row = (t * model_.num_kv_heads + g) * d;
      WriteKv(cache_->Layer(0), table_[t / kPageTokens], g, t % kPageTokens, &sequence_.k[row],
              &sequence_.v[row]);
    }
  }

  std::vector<float> Run(const AttentionVariant& attention, int64_t begin, int64_t end) {
    const int64_t half = model_.head_dim / 2, tokens = end - begin;
    std::vector<int32_t> ids(tokens), positions(tokens), sequences = {0};
    std::iota(positions.begin(), positions.end(), begin);
    const std::vector<int32_t> offsets = {0, static_cast<int32_t>(tokens)};
    const std::vector<int32_t> adapters = {0}, prompt = {static_cast<int32_t>(sequence_.prompt)};
    const Batch batch = {.tokens = ids,
                         .positions = positions,
                         .offsets = offsets,
                         .block_tables = table_,
                         .block_table_stride = static_cast<int64_t>(table_.size()),
                         .logit_rows = {},
                         .adapters = adapters,
                         .prompt_tokens = prompt};
    std::vector<float> cosines(tokens * half), sines(tokens * half);
    for (int64_t t = 0; t < tokens; ++t) {
      RopeAngles(sequence_.frequencies.data(), half, begin + t, &cosines[t * half],
                 &sines[t * half]);
    }
    std::vector<float> out(tokens * row(), std::nanf(""));
    WorkerScratch scratch = {.stride = (attention.ScratchFloats(batch) + 15) / 16 * 16};
    AlignedBuffer buffer;
    EXPECT_TRUE(buffer.Reserve(scratch.stride * pool_.num_threads()));
    scratch.base = buffer.data();
    const AttentionArgs args = {.batch = &batch,
                                .sequences = sequences,
                                .layer = 0,
                                .kv = cache_->Layer(0),
                                .summaries = cache_->Summaries(0),
                                .hidden = &sequence_.hidden[begin * model_.hidden_size],
                                .hidden_stride = model_.hidden_size,
                                .q = &sequence_.q[begin * row()],
                                .q_stride = row(),
                                .cosines = cosines.data(),
                                .sines = sines.data(),
                                .out = out.data(),
                                .out_stride = row()};
    attention.Append(args, scratch, &pool_);
    attention.Forward(args, scratch, &pool_);
    return out;
  }

  const ModelConfig model_;
  ThreadPool pool_;
  NsaSequence sequence_;
  std::unique_ptr<KvCache> cache_;
  std::vector<int32_t> table_;
  std::unique_ptr<NsaAttention> attention_;
};

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

struct Case {
  std::string name;
  AdapterConfig config;
  Shape shape{};

  friend void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }
};

// Small enough a base set that contexts of a few hundred tokens have a rest.
AdapterConfig Small(Selector selector) {
  AdapterConfig c;
  c.window_blocks = 1;
  c.selected_blocks = 2;
  c.selector = selector;
  c.index_rank = 4;
  return c;
}

AdapterConfig With(AdapterConfig c, const std::function<void(AdapterConfig&)>& change) {
  change(c);
  return c;
}

AdapterConfig Pools(Compression key, Compression value, int64_t block) {
  AdapterConfig c = Small(Selector::kMean);
  c.key_compression = key;
  c.value_compression = value;
  c.compression_block = block;
  c.expand_factor = 0.25;
  return c;
}

std::vector<Case> Cases() {
  using C = Compression;
  using A = AdapterConfig;
  const A mean = Small(Selector::kMean);
  const A literal = With(mean, [](A& c) { c.combiner = Combiner::kLiteral; });
  return {
      {"mean", mean},
      {"max", Small(Selector::kMax)},
      {"quest", Small(Selector::kQuest)},
      {"quest_mean", Small(Selector::kQuestMean)},
      {"compressed", Small(Selector::kCompressed)},
      {"index", Small(Selector::kIndex)},
      {"gate", Small(Selector::kGate)},
      {"gate_interleaved", Small(Selector::kGate), {.rope_interleaved = true}},
      {"oracle", Small(Selector::kOracle)},
      {"index_of_16_bits", With(Small(Selector::kIndex), [](A& c) { c.index_bits = 16; })},
      {"index_of_rank_1", With(Small(Selector::kIndex), [](A& c) { c.index_rank = 1; })},
      {"index_of_full_rank", With(Small(Selector::kIndex), [](A& c) { c.index_rank = 16; })},
      {"compressed_without_tail", With(Small(Selector::kCompressed), [](A& c) { c.tail = false; })},
      {"without_tail", With(mean, [](A& c) { c.tail = false; })},
      {"nothing_selected", With(mean, [](A& c) { c.selected_blocks = 0; })},
      {"no_sink_no_window", With(mean, [](A& c) { c.sink_blocks = c.window_blocks = 0; })},
      {"two_sinks", With(mean, [](A& c) { c.sink_blocks = 2; })},
      {"five_selected", With(mean, [](A& c) { c.selected_blocks = 5; })},
      {"tile_16", With(mean, [](A& c) { c.query_tile = 16; })},
      {"tile_64", With(mean, [](A& c) { c.query_tile = 64; })},
      {"index_tile_16", With(Small(Selector::kIndex), [](A& c) { c.query_tile = 16; })},
      {"branch_biases", With(mean, [](A& c) { c.branch_biases = true; })},
      {"branch_biases_nothing_selected",
       With(mean, [](A& c) { c.branch_biases = true, c.selected_blocks = 0; })},
      {"literal", literal},
      {"literal_max_mlp", With(Pools(C::kMax, C::kMlp, 32),
                               [](A& c) {
                                 c.combiner = Combiner::kLiteral;
                                 c.selector = Selector::kCompressed;
                                 c.position_embeddings = true;
                               })},
      {"literal_nothing_selected", With(literal, [](A& c) { c.selected_blocks = 0; })},
      {"mean_mean_64", Pools(C::kMean, C::kMean, 64)},
      {"max_mlp_32", Pools(C::kMax, C::kMlp, 32)},
      {"mlp_max_16", Pools(C::kMlp, C::kMax, 16)},
      {"mlp_mlp_8", Pools(C::kMlp, C::kMlp, 8)},
      {"shared_mlp_16",
       With(Pools(C::kMlp, C::kMlp, 16), [](A& c) { c.shared_compression = true; })},
      {"positions", With(Pools(C::kMax, C::kMlp, 16), [](A& c) { c.position_embeddings = true; })},
      {"tilted_8", With(mean, [](A& c) { c.compression_block = 8; })},
      {"tilted_value_residual", With(Pools(C::kTilted, C::kTilted, 16),
                                     [](A& c) {
                                       c.value_residual_mlp = true;
                                       c.position_embeddings = true;
                                     })},
      {"one_head", mean, {.heads = 1, .kv_heads = 1, .head_dim = 64}},
      {"group_of_three", Small(Selector::kIndex), {.heads = 9, .kv_heads = 3, .head_dim = 32}},
      // Not a multiple of the vector's length: the specifications run.
      {"odd_head_dim", Small(Selector::kIndex), {.heads = 2, .kv_heads = 1, .head_dim = 12}},
      {"odd_head_dim_gate", Small(Selector::kGate), {.heads = 2, .kv_heads = 1, .head_dim = 12}},
      {"odd_head_dim_quest",
       Small(Selector::kQuestMean),
       {.heads = 2, .kv_heads = 1, .head_dim = 12}},
  };
}

class NsaAttentionTest : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Options, NsaAttentionTest, testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param.name; });

// The seed is fixed: with another, two scores may be so close that floats order them otherwise.
TEST_P(NsaAttentionTest, IsWhatTheDocumentSays) {
  std::mt19937_64 random(6);
  for (const int64_t prompt : {0, 445, 448}) {
    if (prompt > 0 && GetParam().config.query_tile == 1) continue;
    Layer layer(random, GetParam().shape, GetParam().config, 460, prompt);
    const NsaResult want = NsaReference(layer.sequence());
    EXPECT_GT(want.closest, 1e-6);
    EXPECT_LT(RelativeError(layer.Whole(), want.out), 2e-5);
  }
}

TEST_P(NsaAttentionTest, TheCutIntoStepsDoesNotShow) {
  std::mt19937_64 random(TestSeed());
  Layer layer(random, GetParam().shape, GetParam().config, 460);
  const std::vector<float> whole = layer.Whole();
  for (const int64_t step : {1, 7, 63, 64, 65, 200}) {
    EXPECT_TRUE(SameBits(layer.Steps([&](int64_t t) { return t + step; }), whole)) << step;
  }
}

// With many threads each query head is a task.
TEST_P(NsaAttentionTest, TheNumberOfThreadsDoesNotShow) {
  const uint64_t seed = TestSeed();
  std::vector<std::vector<float>> last;
  for (const int threads : {1, 16}) {
    std::mt19937_64 random(seed);
    Layer layer(random, GetParam().shape, GetParam().config, 460, 0, threads);
    layer.Step(0, 440);
    last.push_back(layer.Step(440, 459));
    const std::vector<float> one = layer.Step(459, 460);
    last.back().insert(last.back().end(), one.begin(), one.end());
  }
  EXPECT_TRUE(SameBits(last[0], last[1]));
}

TEST(NsaAttention, TilesOfThePromptStayWhole) {
  std::mt19937_64 random(TestSeed());
  for (const Case& c : Cases()) {
    const int64_t tile = c.config.query_tile;
    if (tile == 1) continue;
    for (const int64_t prompt : {383, 384, 385, 400, 460}) {
      Layer layer(random, c.shape, c.config, 460, prompt);
      const std::vector<float> whole = layer.Whole();
      const int64_t tiled = prompt / tile * tile;
      for (const int64_t step : {1, 3, 6}) {
        const auto next = [&](int64_t t) { return t < tiled ? t + step * tile : t + step; };
        EXPECT_TRUE(SameBits(layer.Steps(next), whole))
            << c.name << ", " << prompt << " in steps of " << step;
      }
    }
  }
}

TEST_P(NsaAttentionTest, LengthsAtEveryBorder) {
  std::mt19937_64 random(TestSeed());
  Layer longest(random, GetParam().shape, GetParam().config, 460);
  const std::vector<float> all = longest.Whole();
  for (const int64_t border : {1, 2, 16, 64, 128, 192, 256, 320, 384, 448}) {
    for (int64_t length = std::max<int64_t>(1, border - 1); length <= border + 1; ++length) {
      const std::vector<float> out = longest.Step(0, length);
      EXPECT_TRUE(SameBits(out, {all.begin(), all.begin() + length * longest.row()})) << length;
    }
  }
  for (const float v : all) ASSERT_TRUE(std::isfinite(v));
}

TEST(NsaAttention, IsDenseWhereNothingIsLeftOut) {
  std::mt19937_64 random(TestSeed());
  for (const Case& c : Cases()) {
    AdapterConfig config = c.config;
    if (config.combiner == Combiner::kLiteral) continue;  // never dense
    config.selected_blocks = 5;
    // All candidates of the last block are selected.
    const int64_t tokens = (5 + config.sink_blocks + config.window_blocks + 1) * kPageTokens;
    Layer layer(random, c.shape, config, tokens);
    const std::vector<float> sparse = layer.Whole();
    EXPECT_TRUE(SameBits(sparse, layer.Dense(0, tokens))) << c.name;
  }
}

// All blocks are alike, so that all scores are equal: the lowest blocks are selected.
TEST_P(NsaAttentionTest, OneTokenRepeated) {
  std::mt19937_64 random(TestSeed());
  const int64_t tokens = GetParam().config.expand_factor < 1 ? 1024 : 4096;
  Layer layer(random, GetParam().shape, GetParam().config, tokens);
  const auto repeat = [&](std::vector<float>& x) {
    const int64_t row = x.size() / tokens;
    for (size_t i = row; i < x.size(); ++i) x[i] = x[i - row];
  };
  for (auto* x :
       {&layer.sequence().q, &layer.sequence().k, &layer.sequence().v, &layer.sequence().hidden}) {
    repeat(*x);
  }
  const std::vector<float> whole = layer.Whole();
  for (const float v : whole) ASSERT_TRUE(std::isfinite(v));
  EXPECT_TRUE(SameBits(layer.Steps([](int64_t t) { return t + 999; }), whole));
}

// What is selected shows in the output: its values are marked.
TEST(NsaAttention, TiesGoToTheLowerBlock) {
  std::mt19937_64 random(TestSeed());
  const Shape shape = {.heads = 2, .kv_heads = 1, .head_dim = 16};
  for (const Selector selector : {Selector::kMean, Selector::kMax, Selector::kQuest,
                                  Selector::kIndex, Selector::kCompressed, Selector::kOracle}) {
    AdapterConfig config = Small(selector);
    config.tail = false;
    Layer layer(random, shape, config, 4096);
    NsaSequence& s = layer.sequence();
    for (size_t i = 16; i < s.k.size(); ++i) s.k[i] = s.k[i - 16];
    for (size_t i = 0; i < s.v.size(); ++i) {
      const int64_t block = static_cast<int64_t>(i) / 16 / kPageTokens;
      s.v[i] = block == 1 ? 1 : block == 2 ? 16 : 0;
    }
    const std::vector<float> out = layer.Whole();
    // 64 tokens each of blocks 0 (sink), 1 and 2 (selected), the window's, and 64 of its own.
    EXPECT_NEAR(out.back(), (1 + 16) / 5.0, 1e-4) << static_cast<int>(selector);
  }
}

TEST(NsaAttention, RefusesWhatDoesNotFit) {
  std::mt19937_64 random(TestSeed());
  const ModelConfig model = ModelOf({});
  const AdapterConfig config = WithShapeOf(model, Small(Selector::kIndex));
  CacheGeometry geometry = {.num_layers = 1,
                            .num_kv_heads = 2,
                            .head_dim = 16,
                            .dtype = DType::kF32,
                            .summary_bytes = SummaryLayoutOf(config, DType::kF32).bytes};
  const auto adapter = RandomAdapter(random, config);
  EXPECT_TRUE(NsaAttention::Create(model, geometry, adapter).ok());

  ModelConfig wider = model;
  wider.hidden_size = 32;
  absl::Status status = NsaAttention::Create(wider, geometry, adapter).status();
  EXPECT_EQ(status.message(), "the adapter is for a model with hidden_size 24, this one has 32");

  auto cut = std::make_shared<Adapter>(*adapter);
  cut->layers[0].tilt.pop_back();
  status = NsaAttention::Create(model, geometry, cut).status();
  EXPECT_EQ(status.message(), "layers.0.compress.tilt has 31 values, expected 32");

  geometry.summary_bytes -= kSummaryAlignment;
  status = NsaAttention::Create(model, geometry, adapter).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(),
            "the adapter keeps 368 bytes for each block and key/value head of a layer; the cache "
            "was made with room for 352");
}

}  // namespace
}  // namespace sieve
