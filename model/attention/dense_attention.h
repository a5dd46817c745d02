#ifndef SIEVE_MODEL_ATTENTION_DENSE_ATTENTION_H_
#define SIEVE_MODEL_ATTENTION_DENSE_ATTENTION_H_

#include <cstdint>

#include "model/attention/variant.h"

namespace sieve {

// Exact causal attention over all of the past.
class DenseAttention : public AttentionVariant {
 public:
  DenseAttention(int64_t num_heads, int64_t num_kv_heads, int64_t head_dim);

  int64_t ScratchFloats(const Batch& batch) const override;
  void Forward(const AttentionArgs& args, WorkerScratch scratch, ThreadPool* pool) const override;

 private:
  const int64_t num_heads_;
  const int64_t group_;
  const int64_t head_dim_;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_ATTENTION_DENSE_ATTENTION_H_
