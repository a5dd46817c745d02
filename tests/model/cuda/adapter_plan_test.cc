#include "model/cuda/adapter_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "tests/kernels/random_data.h"

namespace sieve {
namespace {

constexpr int64_t kBlock = 64, kStride = 70;

AdapterConfig Config(int64_t group, int64_t tile) {
  AdapterConfig c;
  c.num_heads = 2 * group;
  c.num_kv_heads = 2;
  c.head_dim = 64;
  c.window_blocks = 1;
  c.selected_blocks = 2;
  c.query_tile = tile;
  return c;
}
// With a sink, a window, two selected and its own block a token has no rest.
constexpr int64_t kFirstFar = 5 * kBlock;

// A batch that owns what it points to.
struct OwnedBatch {
  std::vector<int32_t> tokens, positions, offsets = {0}, tables, adapters, prompts;

  void Add(int64_t first, int64_t count, int32_t adapter, int32_t prompt = 0) {
    for (int64_t t = first; t < first + count; ++t) {
      tokens.push_back(0);
      positions.push_back(static_cast<int32_t>(t));
    }
    offsets.push_back(static_cast<int32_t>(tokens.size()));
    for (int64_t b = 0; b < kStride; ++b) {
      tables.push_back(static_cast<int32_t>(1000 * adapters.size() + b));
    }
    adapters.push_back(adapter);
    prompts.push_back(prompt);
  }
  Batch view() const {
    return {.tokens = tokens,
            .positions = positions,
            .offsets = offsets,
            .block_tables = tables,
            .block_table_stride = kStride,
            .logit_rows = {},
            .adapters = adapters,
            .prompt_tokens = prompts};
  }
};

class Planned {
 public:
  Planned(const OwnedBatch& batch, const std::vector<AdapterConfig>& configs,
          int64_t scratch_bytes = int64_t{1} << 30)
      : batch_(batch), configs_(configs), scratch_bytes_(scratch_bytes) {
    std::vector<const AdapterConfig*> slots;
    for (const AdapterConfig& c : configs) slots.push_back(&c);
    plan_.Build(batch.view(), slots, {.tile_tokens = 48, .scratch_bytes = scratch_bytes});
  }
  const std::vector<AdapterGroup>& groups() const { return plan_.groups(); }
  int64_t bytes() const { return static_cast<int64_t>(plan_.bytes().size()); }
  const cuda::CompletedBlock* completed() const { return plan_.completed(plan_.bytes().data()); }

  // Each token once, and as it lies in the step.
  void ExpectRight() const {
    std::vector<int> dense(batch_.tokens.size()), near(dense), sparse(dense), chosen(dense);
    for (const AdapterGroup& group : groups()) {
      for (const bool decode : {false, true}) {
        const PlanRange range = decode ? group.decode : group.prefill;
        const int64_t near_count = decode ? group.near_decode : group.near_prefill;
        for (int64_t i = 0; i < range.count; ++i) {
          const cuda::AttentionTile tile = plan_.tiles(plan_.bytes().data())[range.begin + i];
          ExpectTile(group, tile);
          EXPECT_EQ(decode, CountOf(tile.first_token) == 1);
          EXPECT_LE(tile.num_tokens, 48);
          for (int32_t t = 0; t < tile.num_tokens; ++t) {
            ++dense[tile.first_token + t];
            near[tile.first_token + t] += i < near_count;
          }
        }
      }
      int64_t row = 0;
      for (const SparseWave& wave : group.waves) {
        EXPECT_EQ(wave.first_row, row);
        row += wave.rows;
        EXPECT_LE(SparseScratchBytes(wave.row, wave.rows), scratch_bytes_);
        ExpectPieces(group, wave, wave.pieces, plan_.pieces(plan_.bytes().data()),
                     cuda::PieceTokens(configs_[group.slot].num_heads / 2), wave.piece_tokens,
                     &sparse);
        ExpectPieces(group, wave, wave.choices, plan_.choices(plan_.bytes().data()),
                     configs_[group.slot].query_tile, wave.choice_tokens, &chosen);
      }
    }
    for (size_t t = 0; t < dense.size(); ++t) {
      const bool far = SlotOf(t) >= 0 &&
                       batch_.positions[t] >=
                           (configs_[SlotOf(t)].combiner == Combiner::kLiteral ? 0 : kFirstFar);
      ASSERT_EQ(dense[t], 1) << t;
      ASSERT_EQ(near[t], !far) << t;
      ASSERT_EQ(sparse[t], far) << t;
      ASSERT_EQ(chosen[t], far) << t;
    }
    const auto tokens = static_cast<int64_t>(batch_.tokens.size());
    EXPECT_LE(bytes(), AdapterPlan::MaxBytes(tokens, static_cast<int64_t>(batch_.adapters.size())));
  }

 private:
  int64_t SequenceOf(int64_t token) const {
    return std::upper_bound(batch_.offsets.begin(), batch_.offsets.end(), token) -
           batch_.offsets.begin() - 1;
  }
  int32_t SlotOf(int64_t token) const { return batch_.adapters[SequenceOf(token)]; }
  int64_t CountOf(int64_t token) const {
    const int64_t s = SequenceOf(token);
    return batch_.offsets[s + 1] - batch_.offsets[s];
  }
  void ExpectTile(const AdapterGroup& group, const cuda::AttentionTile& tile) const {
    const int64_t s = SequenceOf(tile.first_token);
    int32_t place = 0;
    for (int64_t i = 0; i < s; ++i) {
      place += batch_.positions[batch_.offsets[i + 1] - 1] / static_cast<int32_t>(kBlock) + 1;
    }
    EXPECT_EQ(tile.sequence, place);
    EXPECT_EQ(tile.position, batch_.positions[tile.first_token]);
    EXPECT_EQ(SlotOf(tile.first_token), group.slot);
    EXPECT_EQ(SequenceOf(tile.first_token + tile.num_tokens - 1), s);
  }
  void ExpectPieces(const AdapterGroup& group, const SparseWave& wave, const PlanRange& range,
                    const cuda::SparsePiece* pieces, int64_t most, int64_t seen,
                    std::vector<int>* count) const {
    int64_t row = wave.first_row, largest = 1;
    for (int64_t i = range.begin; i < range.begin + range.count; ++i) {
      const cuda::AttentionTile& tile = pieces[i].tile;
      ExpectTile(group, tile);
      EXPECT_EQ(pieces[i].first_row, row);
      row += tile.num_tokens;
      largest = std::max<int64_t>(largest, tile.num_tokens);
      EXPECT_EQ(tile.position / most, (tile.position + tile.num_tokens - 1) / most);
      EXPECT_LE(tile.position / kBlock, wave.own);
      EXPECT_EQ(wave.single, CountOf(tile.first_token) == 1);
      for (int32_t t = 0; t < tile.num_tokens; ++t) ++(*count)[tile.first_token + t];
    }
    EXPECT_EQ(row, wave.first_row + wave.rows);
    EXPECT_EQ(largest, seen);
  }

  const OwnedBatch& batch_;
  const std::vector<AdapterConfig>& configs_;
  const int64_t scratch_bytes_;
  AdapterPlan plan_;
};

TEST(AdapterPlan, TokensAtTheFirstRest) {
  const std::vector<AdapterConfig> configs = {Config(4, 1)};
  for (const int64_t position : {int64_t{0}, kFirstFar - 1, kFirstFar, kFirstFar + 1}) {
    for (const int64_t count : {1, 2, 64, 200}) {
      OwnedBatch batch;
      batch.Add(position, count, 0);
      Planned(batch, configs).ExpectRight();
    }
  }
}

TEST(AdapterPlan, WholeTilesOfThePromptShareAChoice) {
  const std::vector<AdapterConfig> configs = {Config(4, 16), Config(4, 64), Config(16, 64)};
  for (int32_t slot = 0; slot < 3; ++slot) {
    OwnedBatch batch;
    batch.Add(320, 160, slot, /*prompt=*/450);
    const Planned planned(batch, configs);
    planned.ExpectRight();
    const SparseWave& wave = planned.groups()[0].waves[0];
    // 320 .. 447 are whole tiles, of either size; the prompt ends within the next.
    const int64_t tile = configs[slot].query_tile;
    EXPECT_EQ(wave.choices.count, 128 / tile + 32);
    EXPECT_EQ(wave.choice_tokens, tile);
  }
}

TEST(AdapterPlan, BlocksThatAStepCompletes) {
  const std::vector<AdapterConfig> configs = {Config(4, 1)};
  OwnedBatch batch;
  batch.Add(10, 118, 0);  // completes 0 and 1
  batch.Add(127, 1, 0);   // 1
  batch.Add(128, 63, 0);  // none
  batch.Add(0, 64, -1);   // of the bare model
  const Planned planned(batch, configs);
  planned.ExpectRight();
  ASSERT_EQ(planned.groups().size(), 2);
  EXPECT_EQ(planned.groups()[0].slot, -1);
  EXPECT_EQ(planned.groups()[0].completed.count, 0);
  const PlanRange range = planned.groups()[1].completed;
  std::vector<std::pair<int32_t, int32_t>> blocks;
  for (int64_t i = range.begin; i < range.begin + range.count; ++i) {
    blocks.push_back({planned.completed()[i].page, planned.completed()[i].block});
  }
  EXPECT_EQ(blocks, (std::vector<std::pair<int32_t, int32_t>>{{0, 0}, {1, 1}, {1001, 1}}));
}

TEST(AdapterPlan, AnyBatchInAnyScratch) {
  std::mt19937_64 random(TestSeed());
  std::vector<AdapterConfig> configs = {Config(4, 1), Config(3, 16), Config(1, 64), Config(16, 1)};
  configs[1].combiner = Combiner::kLiteral;
  for (int round = 0; round < 100; ++round) {
    OwnedBatch batch;
    for (int s = 0; s < 12; ++s) {
      const auto slot = static_cast<int32_t>(random() % 5) - 1;
      const int64_t tile = slot < 0 ? 1 : configs[slot].query_tile;
      const int64_t first = static_cast<int64_t>(random() % 3000) / tile * tile;
      const int64_t count = random() % 3 == 0 ? 1 : 1 + static_cast<int64_t>(random() % 900);
      // A prompt that ends with the step, or before it: no tile is cut.
      const int64_t end = first + count;
      const int64_t prompt = count == 1 ? first : end - static_cast<int64_t>(random() % count);
      batch.Add(first, count, slot, static_cast<int32_t>(prompt));
    }
    int64_t least = 0;
    for (const AdapterConfig& c : configs) {
      for (const bool single : {false, true}) {
        least = std::max(least, SparseScratchBytes(SparseRowOf(c, kStride - 1, single),
                                                   single ? 1 : AdapterPlan::LeastRows(c)));
      }
    }
    for (const int64_t scratch : {least, 3 * least, int64_t{1} << 30}) {
      Planned(batch, configs, scratch).ExpectRight();
    }
  }
}

}  // namespace
}  // namespace sieve
