#ifndef SIEVE_MODEL_CUDA_ADAPTER_PLAN_H_
#define SIEVE_MODEL_CUDA_ADAPTER_PLAN_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "kernels/cuda/attention_params.h"
#include "kernels/cuda/sparse_batch.h"
#include "model/adapter/adapter_config.h"
#include "model/cuda/sparse_scratch.h"
#include "model/language_model.h"

namespace sieve {

// Elements of an array of AdapterPlan's.
struct PlanRange {
  int64_t begin = 0, count = 0;
};

// Tokens of a group with a rest that go through the kernels of sparse attention together: as many
// as there is scratch for.
struct SparseWave {
  bool single = false;  // pieces of one token
  PlanRange pieces, choices;
  int64_t first_row = 0, rows = 0;
  int64_t piece_tokens = 1, choice_tokens = 1;  // the most
  int64_t own = 0;                              // the last block that a token lies in
  SparseRow row{};                              // of such a token
};

// The sequences of a step that have one adapter. Tokens without a rest attend as the bare model's
// do ("near"); dense layers attend to all tokens so.
struct AdapterGroup {
  int32_t slot = -1;          // the bare model
  PlanRange prefill, decode;  // tiles, the near ones first
  int64_t near_prefill = 0, near_decode = 0;
  int64_t near_splits = 0, max_splits = 0;  // of decoding, in units of kSplitTokens
  PlanRange completed;                      // blocks that the step completes
  std::vector<SparseWave> waves;
};

// How a step with adapters is laid out: what its kernels read, as one block of bytes.
class AdapterPlan {
 public:
  struct Limits {
    int64_t tile_tokens = 1;    // of dense attention
    int64_t scratch_bytes = 0;  // of a wave
  };
  static int64_t MaxBytes(int64_t max_tokens, int64_t max_sequences);

  // `adapters`: by slot; those that the batch names are there. Each must fit: a wave of
  // LeastRows tokens of the longest context in scratch_bytes.
  void Build(const Batch& batch, absl::Span<const AdapterConfig* const> adapters,
             const Limits& limits);
  // Rows of the smallest wave.
  static int64_t LeastRows(const AdapterConfig& config);

  absl::Span<const char> bytes() const { return bytes_; }
  const std::vector<AdapterGroup>& groups() const { return groups_; }

  // Where the arrays are in bytes(), of which `at` is a copy.
  const cuda::AttentionTile* tiles(const char* at) const;
  const cuda::SparsePiece* pieces(const char* at) const;
  const cuda::SparsePiece* choices(const char* at) const;
  const cuda::CompletedBlock* completed(const char* at) const;

 private:
  void AddGroup(const Batch& batch, const AdapterConfig* config, const Limits& limits,
                absl::Span<const int32_t> sequences);
  void AddTiles(const Batch& batch, const AdapterConfig* config, int64_t tile_tokens,
                absl::Span<const int32_t> sequences, AdapterGroup* group);
  void AddCompleted(const Batch& batch, absl::Span<const int32_t> sequences, AdapterGroup* group);
  void AddSparse(const Batch& batch, const AdapterConfig& config, int64_t scratch_bytes,
                 int32_t sequence, AdapterGroup* group);
  void Pack();

  std::vector<int32_t> places_;  // of each sequence's pages in the step's block tables
  std::vector<cuda::AttentionTile> tiles_;
  std::vector<cuda::SparsePiece> pieces_, choices_;
  std::vector<cuda::CompletedBlock> completed_;
  std::vector<AdapterGroup> groups_;
  std::array<int64_t, 4> offsets_{};
  std::vector<char> bytes_;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CUDA_ADAPTER_PLAN_H_
