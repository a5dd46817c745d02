#ifndef SIEVE_MODEL_ATTENTION_NSA_ATTENTION_H_
#define SIEVE_MODEL_ATTENTION_NSA_ATTENTION_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/block_summary.h"
#include "model/adapter/adapter.h"
#include "model/attention/nsa_piece.h"
#include "model/attention/variant.h"
#include "model/cache/geometry.h"
#include "model/config.h"

namespace sieve {

// The sparse attention of an adapter, in the layers that it does not leave dense: a few blocks are
// read exactly, the rest through compressed entries; docs/adapters.md has the formulas. The choice
// of blocks follows Native Sparse Attention (Yuan et al., 2025, arXiv 2502.11089).
class NsaAttention : public AttentionVariant {
 public:
  // INVALID_ARGUMENT for an adapter of another shape than the model's or with tensors that are not
  // those of its configuration; RESOURCE_EXHAUSTED when its summaries are larger than the cache's.
  static absl::StatusOr<std::unique_ptr<NsaAttention>> Create(
      const ModelConfig& model, const CacheGeometry& cache, std::shared_ptr<const Adapter> adapter);

  const AdapterConfig& config() const { return adapter_->config; }
  int64_t WeightBytes() const;

  int64_t ScratchFloats(const Batch& batch) const override;
  void Append(const AttentionArgs& args, WorkerScratch scratch, ThreadPool* pool) const override;
  // REQUIRES: batch_check's CheckTiles.
  void Forward(const AttentionArgs& args, WorkerScratch scratch, ThreadPool* pool) const override;

 private:
  NsaAttention(const ModelConfig& model, const CacheGeometry& cache,
               std::shared_ptr<const Adapter> adapter);
  // Positions are cut into pieces of so many tokens: the tiles, where there are.
  int64_t PieceTokens() const;
  int64_t CountPieces(const Batch& batch, int64_t sequence) const;
  NsaPiece PieceAt(const AttentionArgs& args, int64_t sequence, int64_t index) const;
  void Compress(const AttentionArgs& args, int64_t sequence, int64_t block, int64_t kv_head,
                float* scratch) const;

  const std::shared_ptr<const Adapter> adapter_;
  const SummaryLayout layout_;
  const std::vector<double> frequencies_;
  const bool rope_interleaved_;
  std::vector<std::vector<float>> index_q_;  // of each layer [num_kv_heads, index_rank, head_dim]
};

}  // namespace sieve

#endif  // SIEVE_MODEL_ATTENTION_NSA_ATTENTION_H_
