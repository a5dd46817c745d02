#include "trainer/eval/engine_scorer.h"

#include <algorithm>
#include <atomic>
#include <numeric>
#include <thread>

#include "absl/strings/str_cat.h"
#include "model/cache/geometry.h"
#include "model/sampling/logit_math.h"

namespace sieve {
namespace {

constexpr int64_t kRowsPerStep = 1024;

int64_t PagesFor(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

int ThreadsOrCores(int threads) {
  return threads > 0 ? threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

// Whole pages, which are whole tiles.
int64_t EngineScorer::ChunkTokens(int64_t variants) {
  return std::max(kPageTokens, kRowsPerStep / (variants + 1) / kPageTokens * kPageTokens);
}

int64_t EngineScorer::Pages(int64_t variants, int64_t window) {
  return (variants + 1) * PagesFor(window);
}

EngineScorer::EngineScorer(Transformer* model, int64_t variants, int num_threads)
    : model_(model),
      variants_(variants),
      pool_(ThreadsOrCores(num_threads)),
      scorers_(pool_.num_threads()) {}

absl::Status EngineScorer::Step(absl::Span<const int32_t> window, const Chunk& chunk) {
  const int64_t count = chunk.end - chunk.begin, sequences = variants_ + 1;
  const int64_t pages = PagesFor(static_cast<int64_t>(window.size()));
  std::vector<int32_t> tokens, positions, offsets = {0}, rows, slots, prompts, tables;
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t first = static_cast<int64_t>(tokens.size());
    const auto part = window.subspan(chunk.begin, count);
    tokens.insert(tokens.end(), part.begin(), part.end());
    for (int64_t i = chunk.begin; i < chunk.end; ++i) positions.push_back(static_cast<int32_t>(i));
    for (int64_t i = 0; i < chunk.rows; ++i) {
      rows.push_back(static_cast<int32_t>(first + chunk.scored - chunk.begin + i));
    }
    offsets.push_back(static_cast<int32_t>(tokens.size()));
    slots.push_back(static_cast<int32_t>(s) - 1);
    prompts.push_back(static_cast<int32_t>(window.size()));
  }
  tables.resize(sequences * pages);
  std::iota(tables.begin(), tables.end(), 0);
  logits_.resize(rows.size() * model_->vocabulary_size());
  return model_->Forward({.tokens = tokens,
                          .positions = positions,
                          .offsets = offsets,
                          .block_tables = tables,
                          .block_table_stride = pages,
                          .logit_rows = rows,
                          .adapters = slots,
                          .prompt_tokens = prompts},
                         absl::MakeSpan(logits_));
}

absl::Status EngineScorer::Compare(absl::Span<const int32_t> window, const Chunk& chunk,
                                   std::vector<WindowScores>* scores) {
  const int64_t vocabulary = model_->vocabulary_size();
  const auto logits = [&](int64_t sequence, int64_t row) {
    return absl::MakeConstSpan(logits_).subspan((sequence * chunk.rows + row) * vocabulary,
                                                vocabulary);
  };
  const int64_t done = static_cast<int64_t>(scores->front().size());
  for (WindowScores& one : *scores) one.resize(done + chunk.rows);
  std::atomic<int64_t> broken = -1;
  pool_.ParallelFor(chunk.rows, [&](int64_t row, int worker) {
    for (int64_t s = 0; s <= variants_; ++s) {
      if (!AllFinite(logits(s, row))) {
        broken = chunk.scored + row;
        return;
      }
    }
    TokenScorer& scorer = scorers_[worker];
    scorer.SetDense(logits(0, row));
    for (int64_t v = 0; v < variants_; ++v) {
      (*scores)[v][done + row] = scorer.Score(logits(v + 1, row), window[chunk.scored + row + 1]);
    }
  });
  if (broken < 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("logits are not finite at position ", broken.load()));
}

absl::StatusOr<std::vector<std::vector<WindowScores>>> EngineScorer::Score(
    absl::Span<const int32_t> text, absl::Span<const ScoredWindow> windows) {
  std::vector<std::vector<WindowScores>> out(variants_);
  for (const ScoredWindow& place : windows) {
    const auto window = text.subspan(place.begin, place.length());
    std::vector<WindowScores> scores(variants_);
    const int64_t step = ChunkTokens(variants_);
    for (int64_t begin = 0; begin < place.length(); begin += step) {
      Chunk chunk = {.begin = begin, .end = std::min(begin + step, place.length())};
      chunk.scored = std::max(begin, place.scored - place.begin - 1);
      // The last token predicts nothing that is known.
      chunk.rows = std::max<int64_t>(0, std::min(chunk.end, place.length() - 1) - chunk.scored);
      absl::Status status = Step(window, chunk);
      if (status.ok() && variants_ > 0) status = Compare(window, chunk, &scores);
      if (!status.ok()) return status;
    }
    for (int64_t v = 0; v < variants_; ++v) out[v].push_back(std::move(scores[v]));
  }
  return out;
}

}  // namespace sieve
