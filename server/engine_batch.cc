#include "server/engine_batch.h"

#include <algorithm>

#include "absl/types/span.h"

namespace sieve {

Batch EngineBatch::Build(const StepPlan& plan, const Scheduler& scheduler) {
  tokens_.clear();
  positions_.clear();
  offsets_.assign(1, 0);
  logit_rows_.clear();
  adapters_.clear();
  prompt_tokens_.clear();
  size_t stride = 0;
  for (const Chunk& chunk : plan.chunks) {
    const auto tokens = scheduler.tokens(chunk.sequence).subspan(chunk.start, chunk.count);
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
    for (int64_t i = 0; i < chunk.count; ++i) positions_.push_back(chunk.start + i);
    offsets_.push_back(tokens_.size());
    if (chunk.wants_logits) logit_rows_.push_back(tokens_.size() - 1);
    adapters_.push_back(scheduler.adapter(chunk.sequence));
    prompt_tokens_.push_back(static_cast<int32_t>(scheduler.prompt_tokens(chunk.sequence)));
    stride = std::max(stride, scheduler.pages(chunk.sequence).size());
  }
  block_tables_.assign(plan.chunks.size() * stride, -1);
  auto row = block_tables_.begin();
  for (const Chunk& chunk : plan.chunks) {
    const absl::Span<const int32_t> pages = scheduler.pages(chunk.sequence);
    std::copy(pages.begin(), pages.end(), row);
    row += stride;
  }
  Batch batch;
  batch.tokens = tokens_;
  batch.positions = positions_;
  batch.offsets = offsets_;
  batch.block_tables = block_tables_;
  batch.block_table_stride = stride;
  batch.logit_rows = logit_rows_;
  const auto has_adapter = [](int32_t slot) { return slot >= 0; };
  if (std::any_of(adapters_.begin(), adapters_.end(), has_adapter)) {
    batch.adapters = adapters_;
    batch.prompt_tokens = prompt_tokens_;
  }
  return batch;
}

}  // namespace sieve
