#include "model/cuda/step_input.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "model/cuda/cuda_status.h"

namespace sieve {

StepArrays StepInput::Carve(const StepLimits& limits, char* base, int64_t* bytes) {
  Carver carver(base);
  StepArrays arrays;
  arrays.tokens = carver.Take<int32_t>(limits.max_tokens);
  arrays.positions = carver.Take<int32_t>(limits.max_tokens);
  arrays.sequences = carver.Take<int32_t>(limits.max_tokens);
  arrays.logit_rows = carver.Take<int32_t>(limits.max_tokens);
  arrays.tiles = carver.Take<cuda::AttentionTile>(limits.max_tokens);
  // One more: the sequence of the tokens that fill up a bucket.
  arrays.block_tables = carver.Take<int32_t>((limits.max_sequences + 1) * limits.max_pages);
  *bytes = carver.bytes();
  return arrays;
}

absl::StatusOr<StepInput> StepInput::Create(const StepLimits& limits, int64_t tile_tokens) {
  StepInput input;
  input.limits_ = limits;
  input.tile_tokens_ = tile_tokens;
  int64_t bytes = 0;
  Carve(limits, nullptr, &bytes);
  absl::StatusOr<CudaMemory> host = CudaMemory::PinnedHost(bytes, "a step's input");
  if (!host.ok()) return host.status();
  absl::StatusOr<CudaMemory> device = CudaMemory::Device(bytes, "a step's input");
  if (!device.ok()) return device.status();
  input.host_memory_ = *std::move(host);
  input.device_memory_ = *std::move(device);
  input.host_ = Carve(limits, input.host_memory_.data(), &bytes);
  input.device_ = Carve(limits, input.device_memory_.data(), &bytes);
  return input;
}

// Sequences with several tokens first: their tiles are one kernel's, the others' another's.
void StepInput::AddTiles(const Batch& batch, StepShape* shape) {
  const int32_t sequences = static_cast<int32_t>(batch.offsets.size()) - 1;
  cuda::AttentionTile* tile = host_.tiles;
  for (int32_t s = 0; s < sequences; ++s) {
    const int32_t begin = batch.offsets[s], count = batch.offsets[s + 1] - begin;
    for (int32_t done = 0; count > 1 && done < count; done += tile_tokens_) {
      *tile++ = {s, begin + done, std::min<int32_t>(tile_tokens_, count - done),
                 batch.positions[begin] + done};
    }
  }
  // The kernel takes the last ones first: so the longest, and those that end it are short.
  std::stable_sort(host_.tiles, tile,
                   [](const cuda::AttentionTile& a, const cuda::AttentionTile& b) {
                     return a.position + a.num_tokens < b.position + b.num_tokens;
                   });
  shape->prefill_tiles = tile - host_.tiles;
  int64_t longest = 0;
  for (int32_t s = 0; s < sequences; ++s) {
    const int32_t begin = batch.offsets[s];
    if (batch.offsets[s + 1] - begin != 1) continue;
    *tile++ = {s, begin, 1, batch.positions[begin]};
    longest = std::max<int64_t>(longest, batch.positions[begin] + 1);
  }
  shape->decode_tiles = tile - host_.tiles - shape->prefill_tiles;
  shape->max_splits = (longest + cuda::kSplitTokens - 1) / cuda::kSplitTokens;
}

void StepInput::Fill(int64_t bucket, int32_t spare_page, StepShape* shape) {
  const int32_t spare_sequence = static_cast<int32_t>(limits_.max_sequences);
  host_.block_tables[spare_sequence * limits_.max_pages] = spare_page;
  for (int32_t t = static_cast<int32_t>(shape->tokens); t < bucket; ++t) {
    host_.tokens[t] = 0;
    host_.positions[t] = 0;
    host_.sequences[t] = spare_sequence;
    host_.logit_rows[t] = t;
    host_.tiles[t] = {spare_sequence, t, 1, 0};
  }
  shape->tokens = shape->decode_tiles = shape->logit_rows = bucket;
}

absl::StatusOr<StepShape> StepInput::Upload(const Batch& batch, int64_t bucket, int32_t spare_page,
                                            cudaStream_t stream) {
  const int64_t sequences = static_cast<int64_t>(batch.offsets.size()) - 1;
  int64_t pages = 0;  // of the longest sequence
  for (const int32_t position : batch.positions) {
    pages = std::max<int64_t>(pages, position / cuda::kPageTokens + 1);
  }
  StepShape shape{.tokens = static_cast<int64_t>(batch.tokens.size()),
                  .logit_rows = static_cast<int64_t>(batch.logit_rows.size())};
  if (shape.tokens > limits_.max_tokens || sequences > limits_.max_sequences ||
      pages > limits_.max_pages) {
    return absl::InvalidArgumentError(
        absl::StrCat("a step of ", shape.tokens, " tokens, ", sequences, " sequences and ", pages,
                     " pages of one of them; the model was made for ", limits_.max_tokens, ", ",
                     limits_.max_sequences, " and ", limits_.max_pages));
  }
  std::copy(batch.tokens.begin(), batch.tokens.end(), host_.tokens);
  std::copy(batch.positions.begin(), batch.positions.end(), host_.positions);
  std::copy(batch.logit_rows.begin(), batch.logit_rows.end(), host_.logit_rows);
  for (int32_t s = 0; s < sequences; ++s) {
    std::fill(host_.sequences + batch.offsets[s], host_.sequences + batch.offsets[s + 1], s);
    const auto table = batch.block_tables.begin() + s * batch.block_table_stride;
    std::copy(table, table + std::min(pages, batch.block_table_stride),
              host_.block_tables + s * limits_.max_pages);
  }
  AddTiles(batch, &shape);
  if (bucket > 0) Fill(bucket, spare_page, &shape);

  // Everything before the tables is one piece of the same layout on both sides.
  const int64_t arrays = reinterpret_cast<char*>(host_.block_tables) - host_memory_.data();
  SIEVE_RETURN_IF_CUDA(cudaMemcpyAsync(device_memory_.data(), host_memory_.data(), arrays,
                                       cudaMemcpyHostToDevice, stream),
                       "copying a step's input");
  const int64_t stride = limits_.max_pages * 4;
  SIEVE_RETURN_IF_CUDA(cudaMemcpy2DAsync(device_.block_tables, stride, host_.block_tables, stride,
                                         pages * 4, sequences, cudaMemcpyHostToDevice, stream),
                       "copying a step's block tables");
  if (bucket > static_cast<int64_t>(batch.tokens.size())) {
    const int64_t spare = limits_.max_sequences * limits_.max_pages;
    SIEVE_RETURN_IF_CUDA(cudaMemcpyAsync(device_.block_tables + spare, host_.block_tables + spare,
                                         4, cudaMemcpyHostToDevice, stream),
                         "copying a step's block tables");
  }
  return shape;
}

}  // namespace sieve
