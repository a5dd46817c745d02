#include "tests/model/parity/parity_model.h"

#include <algorithm>

#include "model/cache/geometry.h"
#include "tests/model/parity/model_under_test.h"

namespace sieve {

absl::StatusOr<ParityModel> ParityModel::Open(const std::string& path, int64_t max_sequences,
                                              int64_t max_tokens) {
  absl::StatusOr<std::unique_ptr<Checkpoint>> checkpoint = OpenCheckpoint(path);
  if (!checkpoint.ok()) return checkpoint.status();
  const int64_t max_pages = (max_tokens + kPageTokens - 1) / kPageTokens;
  absl::StatusOr<std::unique_ptr<Transformer>> transformer = MakeModelUnderTest(
      (*checkpoint)->config(), (*checkpoint)->weights(), max_sequences, max_tokens);
  if (!transformer.ok()) return transformer.status();
  return ParityModel(*std::move(checkpoint), *std::move(transformer), max_sequences, max_pages);
}

absl::StatusOr<std::vector<float>> ParityModel::Step(const std::vector<Piece>& pieces) {
  TokenIds tokens, positions, tables, wanted;
  TokenIds offsets = {0};
  for (const Piece& piece : pieces) {
    const int32_t first = static_cast<int32_t>(tokens.size());
    for (const int32_t row : piece.wanted) wanted.push_back(first + row);
    tokens.insert(tokens.end(), piece.tokens, piece.tokens + piece.count);
    for (int64_t i = 0; i < piece.count; ++i) {
      positions.push_back(static_cast<int32_t>(piece.begin + i));
    }
    offsets.push_back(static_cast<int32_t>(tokens.size()));
    // The pages of one sequence lie apart, last first.
    for (int64_t page = 0; page < max_pages_; ++page) {
      tables.push_back(
          static_cast<int32_t>((max_pages_ - 1 - page) * max_sequences_ + piece.sequence));
    }
  }
  std::vector<float> logits(wanted.size() * vocabulary_size());
  const absl::Status status = transformer_->Forward({.tokens = tokens,
                                                     .positions = positions,
                                                     .offsets = offsets,
                                                     .block_tables = tables,
                                                     .block_table_stride = max_pages_,
                                                     .logit_rows = wanted},
                                                    absl::MakeSpan(logits));
  if (!status.ok()) return status;
  return logits;
}

absl::StatusOr<std::vector<float>> ParityModel::Logits(const TokenIds& tokens,
                                                       const TokenIds& positions,
                                                       int64_t step_tokens) {
  std::vector<float> logits;
  const int64_t total = static_cast<int64_t>(tokens.size());
  for (int64_t begin = 0; begin < total; begin += step_tokens) {
    Piece piece;
    piece.tokens = tokens.data() + begin;
    piece.begin = begin;
    piece.count = std::min(step_tokens, total - begin);
    for (const int32_t position : positions) {
      if (position >= begin && position < begin + piece.count) {
        piece.wanted.push_back(static_cast<int32_t>(position - begin));
      }
    }
    const absl::StatusOr<std::vector<float>> part = Step({piece});
    if (!part.ok()) return part.status();
    logits.insert(logits.end(), part->begin(), part->end());
  }
  return logits;
}

absl::StatusOr<std::vector<TokenIds>> ParityModel::Greedy(const std::vector<TokenIds>& prompts,
                                                          int64_t count) {
  std::vector<TokenIds> generated(prompts.size());
  for (int64_t step = 0; step < count; ++step) {
    std::vector<Piece> pieces;
    for (size_t s = 0; s < prompts.size(); ++s) {
      const int64_t length = static_cast<int64_t>(prompts[s].size());
      Piece piece;
      piece.sequence = static_cast<int64_t>(s);
      piece.tokens = step == 0 ? prompts[s].data() : &generated[s].back();
      piece.begin = step == 0 ? 0 : length + step - 1;
      piece.count = step == 0 ? length : 1;
      piece.wanted = {static_cast<int32_t>(piece.count - 1)};
      pieces.push_back(piece);
    }
    const absl::StatusOr<std::vector<float>> logits = Step(pieces);
    if (!logits.ok()) return logits.status();
    for (size_t s = 0; s < prompts.size(); ++s) {
      const float* row = logits->data() + s * vocabulary_size();
      generated[s].push_back(
          static_cast<int32_t>(std::max_element(row, row + vocabulary_size()) - row));
    }
  }
  return generated;
}

}  // namespace sieve
