#include "model/cuda/adapter_plan.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "model/cache/geometry.h"

namespace sieve {
namespace {

constexpr int64_t kAlignment = 16;  // of an array

// Rows of a wave: thread blocks are numbered by pieces in a dimension of at most 65,535.
constexpr int64_t kMostRows = 1 << 15;

int64_t RoundUp(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

int64_t NumSequences(const Batch& batch) { return static_cast<int64_t>(batch.offsets.size()) - 1; }

int64_t CountOf(const Batch& batch, int64_t s) { return batch.offsets[s + 1] - batch.offsets[s]; }

int64_t GroupOf(const AdapterConfig& c) { return c.num_heads / c.num_kv_heads; }

// The first position with a rest, or, where branches are combined otherwise, of all.
int64_t FirstFar(const AdapterConfig& c) {
  if (c.combiner == Combiner::kLiteral) return 0;
  return (c.sink_blocks + c.window_blocks + c.selected_blocks + 1) * kPageTokens;
}

// Tokens that stay together in a wave: a piece, and a tile. Both are powers of two up to a block.
int64_t UnitTokens(const AdapterConfig& c) {
  return std::max(cuda::PieceTokens(GroupOf(c)), c.query_tile);
}

PlanRange Since(size_t begin, size_t end) {
  return {static_cast<int64_t>(begin), static_cast<int64_t>(end - begin)};
}

// As StepInput's, the longest last.
void SortByEnd(cuda::AttentionTile* begin, cuda::AttentionTile* end) {
  std::stable_sort(begin, end, [](const cuda::AttentionTile& a, const cuda::AttentionTile& b) {
    return a.position + a.num_tokens < b.position + b.num_tokens;
  });
}

int64_t SplitsOf(int64_t position) { return position / cuda::kSplitTokens + 1; }

}  // namespace

int64_t AdapterPlan::MaxBytes(int64_t max_tokens, int64_t max_sequences) {
  // A sequence's tokens may begin with a part of a tile, and be cut where a rest begins.
  const int64_t tiles = max_tokens + 2 * max_sequences;
  return tiles * static_cast<int64_t>(sizeof(cuda::AttentionTile)) +
         max_tokens *
             static_cast<int64_t>(2 * sizeof(cuda::SparsePiece) + sizeof(cuda::CompletedBlock)) +
         4 * kAlignment;
}

int64_t AdapterPlan::LeastRows(const AdapterConfig& config) { return UnitTokens(config); }

void AdapterPlan::Build(const Batch& batch, absl::Span<const AdapterConfig* const> adapters,
                        const Limits& limits) {
  tiles_.clear();
  pieces_.clear();
  choices_.clear();
  completed_.clear();
  groups_.clear();
  places_.clear();
  const int64_t count = NumSequences(batch);
  int32_t place = 0;
  for (int64_t s = 0; s < count; ++s) {
    places_.push_back(place);
    place += batch.positions[batch.offsets[s + 1] - 1] / static_cast<int32_t>(kPageTokens) + 1;
  }
  std::vector<int32_t> sequences(count);
  std::iota(sequences.begin(), sequences.end(), 0);
  std::stable_sort(sequences.begin(), sequences.end(),
                   [&](int32_t a, int32_t b) { return batch.adapter(a) < batch.adapter(b); });
  for (int64_t begin = 0, end = 0; begin < count; begin = end) {
    const int32_t slot = batch.adapter(sequences[begin]);
    while (end < count && batch.adapter(sequences[end]) == slot) ++end;
    groups_.emplace_back().slot = slot;
    AddGroup(batch, slot < 0 ? nullptr : adapters[slot], limits,
             absl::MakeConstSpan(sequences).subspan(begin, end - begin));
  }
  Pack();
}

void AdapterPlan::AddGroup(const Batch& batch, const AdapterConfig* config, const Limits& limits,
                           absl::Span<const int32_t> sequences) {
  AdapterGroup* const group = &groups_.back();
  AddTiles(batch, config, limits.tile_tokens, sequences, group);
  if (config == nullptr) return;
  AddCompleted(batch, sequences, group);
  for (const bool single : {false, true}) {
    for (const int32_t s : sequences) {
      if ((CountOf(batch, s) == 1) == single) {
        AddSparse(batch, *config, limits.scratch_bytes, s, group);
      }
    }
  }
}

void AdapterPlan::AddTiles(const Batch& batch, const AdapterConfig* config, int64_t tile_tokens,
                           absl::Span<const int32_t> sequences, AdapterGroup* group) {
  const int64_t far = config != nullptr ? FirstFar(*config) : int64_t{1} << 40;
  const size_t first = tiles_.size();
  for (const bool near : {true, false}) {
    const size_t begin = tiles_.size();
    for (const int32_t s : sequences) {
      const int64_t count = CountOf(batch, s), position = batch.positions[batch.offsets[s]];
      if (count == 1) continue;
      const int64_t cut = std::clamp<int64_t>(far - position, 0, count);
      for (int64_t t = near ? 0 : cut; t < (near ? cut : count); t += tile_tokens) {
        const int64_t tokens = std::min(tile_tokens, (near ? cut : count) - t);
        tiles_.push_back({places_[s], static_cast<int32_t>(batch.offsets[s] + t),
                          static_cast<int32_t>(tokens), static_cast<int32_t>(position + t)});
      }
    }
    SortByEnd(tiles_.data() + begin, tiles_.data() + tiles_.size());
    if (near) group->near_prefill = static_cast<int64_t>(tiles_.size() - begin);
  }
  group->prefill = Since(first, tiles_.size());
  const size_t first_decode = tiles_.size();
  for (const bool near : {true, false}) {
    const size_t begin = tiles_.size();
    for (const int32_t s : sequences) {
      const int32_t token = batch.offsets[s], position = batch.positions[token];
      if (CountOf(batch, s) != 1 || (position < far) != near) continue;
      tiles_.push_back({places_[s], token, 1, position});
      group->max_splits = std::max(group->max_splits, SplitsOf(position));
    }
    if (near) {
      group->near_decode = static_cast<int64_t>(tiles_.size() - begin);
      group->near_splits = group->max_splits;
    }
  }
  group->decode = Since(first_decode, tiles_.size());
}

void AdapterPlan::AddCompleted(const Batch& batch, absl::Span<const int32_t> sequences,
                               AdapterGroup* group) {
  const size_t begin = completed_.size();
  for (const int32_t s : sequences) {
    const int64_t end = (batch.positions[batch.offsets[s + 1] - 1] + 1) / kPageTokens;
    for (int64_t b = batch.positions[batch.offsets[s]] / kPageTokens; b < end; ++b) {
      completed_.push_back(
          {batch.block_tables[s * batch.block_table_stride + b], static_cast<int32_t>(b)});
    }
  }
  group->completed = Since(begin, completed_.size());
}

void AdapterPlan::AddSparse(const Batch& batch, const AdapterConfig& c, int64_t scratch_bytes,
                            int32_t sequence, AdapterGroup* group) {
  const int64_t count = CountOf(batch, sequence);
  const int64_t token = batch.offsets[sequence], first = batch.positions[token];
  const int64_t end = first + count, prompt = batch.prompt(sequence);
  const int64_t unit = UnitTokens(c), piece_tokens = cuda::PieceTokens(GroupOf(c));
  const bool single = count == 1;
  for (int64_t t = std::max(first, FirstFar(c)); t < end;) {
    const int64_t next = std::min(end, (t / unit + 1) * unit), rows = next - t;
    SparseWave* wave = group->waves.empty() ? nullptr : &group->waves.back();
    int64_t own = std::max(t / kPageTokens, wave == nullptr ? 0 : wave->own);
    SparseRow row = SparseRowOf(c, own, single);
    if (wave == nullptr || wave->single != single || wave->rows + rows > kMostRows ||
        SparseScratchBytes(row, wave->rows + rows) > scratch_bytes) {
      const int64_t before = wave == nullptr ? 0 : wave->first_row + wave->rows;
      wave = &group->waves.emplace_back();
      wave->single = single;
      wave->pieces.begin = static_cast<int64_t>(pieces_.size());
      wave->choices.begin = static_cast<int64_t>(choices_.size());
      wave->first_row = before;
      own = t / kPageTokens;
      row = SparseRowOf(c, own, single);
    }
    wave->own = own;
    wave->row = row;
    // Cuts t .. next - 1 at multiples of `most`.
    const auto add = [&](std::vector<cuda::SparsePiece>* to, int64_t begin, int64_t stop,
                         int64_t most, PlanRange* range, int64_t* most_seen) {
      for (int64_t p = begin; p < stop;) {
        const int64_t after = std::min(stop, (p / most + 1) * most);
        to->push_back({{places_[sequence], static_cast<int32_t>(token + p - first),
                        static_cast<int32_t>(after - p), static_cast<int32_t>(p)},
                       static_cast<int32_t>(wave->first_row + wave->rows + p - t)});
        *most_seen = std::max(*most_seen, after - p);
        ++range->count;
        p = after;
      }
    };
    add(&pieces_, t, next, piece_tokens, &wave->pieces, &wave->piece_tokens);
    // The whole tiles of the prompt, then tokens that choose for themselves.
    const int64_t tiled = std::clamp(prompt / c.query_tile * c.query_tile, t, next);
    add(&choices_, t, tiled, c.query_tile, &wave->choices, &wave->choice_tokens);
    add(&choices_, tiled, next, 1, &wave->choices, &wave->choice_tokens);
    wave->rows += rows;
    t = next;
  }
}

void AdapterPlan::Pack() {
  bytes_.clear();
  size_t array = 0;
  const auto add = [&](const auto& values) {
    offsets_[array++] = static_cast<int64_t>(bytes_.size());
    const size_t size = values.size() * sizeof(values[0]);
    bytes_.resize(RoundUp(static_cast<int64_t>(bytes_.size() + size), kAlignment));
    if (size > 0) std::memcpy(bytes_.data() + offsets_[array - 1], values.data(), size);
  };
  add(tiles_);
  add(pieces_);
  add(choices_);
  add(completed_);
}

const cuda::AttentionTile* AdapterPlan::tiles(const char* at) const {
  return reinterpret_cast<const cuda::AttentionTile*>(at + offsets_[0]);
}
const cuda::SparsePiece* AdapterPlan::pieces(const char* at) const {
  return reinterpret_cast<const cuda::SparsePiece*>(at + offsets_[1]);
}
const cuda::SparsePiece* AdapterPlan::choices(const char* at) const {
  return reinterpret_cast<const cuda::SparsePiece*>(at + offsets_[2]);
}
const cuda::CompletedBlock* AdapterPlan::completed(const char* at) const {
  return reinterpret_cast<const cuda::CompletedBlock*>(at + offsets_[3]);
}

}  // namespace sieve
