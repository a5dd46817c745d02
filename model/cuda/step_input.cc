#include "model/cuda/step_input.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/host_copy.h"
#include "model/cuda/carver.h"
#include "model/cuda/cuda_status.h"

namespace sieve {
namespace {

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t NumSequences(const Batch& batch) { return static_cast<int64_t>(batch.offsets.size()) - 1; }

// Pages that sequence s has used when the step is done.
int64_t PagesOf(const Batch& batch, int64_t s) {
  return batch.positions[batch.offsets[s + 1] - 1] / cuda::kPageTokens + 1;
}

}  // namespace

StepArrays StepInput::Carve(const Sizes& sizes, char* base, int64_t* bytes) {
  Carver carver(base);
  StepArrays arrays;
  arrays.tokens = carver.Take<int32_t>(sizes.tokens);
  arrays.positions = carver.Take<int32_t>(sizes.tokens);
  arrays.sequences = carver.Take<int32_t>(sizes.tokens);
  arrays.logit_rows = carver.Take<int32_t>(sizes.logit_rows);
  arrays.tiles = carver.Take<cuda::AttentionTile>(sizes.tiles);
  arrays.row_positions = carver.Take<int32_t>(sizes.row_tiles);
  arrays.row_tiles = carver.Take<cuda::AttentionTile>(sizes.row_tiles);
  // From here on a graph's arrays may be of any size.
  arrays.block_tables = carver.Take<int32_t>(sizes.pages);
  arrays.plan = carver.Take<char>(sizes.beside.plan);
  arrays.extra = carver.Take<char>(sizes.beside.extra);
  *bytes = carver.bytes();
  return arrays;
}

absl::StatusOr<StepInput> StepInput::Create(const StepLimits& limits, int64_t tile_tokens,
                                            const Beside& most) {
  StepInput input;
  input.limits_ = limits;
  input.tile_tokens_ = tile_tokens;
  input.most_ = most;
  const Sizes largest = {.tokens = limits.max_tokens,
                         .logit_rows = limits.max_tokens,
                         .tiles = limits.max_tokens,
                         .row_tiles = limits.max_tokens,
                         .pages = limits.max_sequences * limits.max_pages + 1,
                         .beside = most};
  int64_t bytes = 0;
  Carve(largest, nullptr, &bytes);
  for (CudaMemory& memory : input.host_memory_) {
    absl::StatusOr<CudaMemory> host = CudaMemory::PinnedHost(bytes, "a step's input");
    if (!host.ok()) return host.status();
    memory = *std::move(host);
  }
  absl::StatusOr<CudaMemory> device = CudaMemory::Device(bytes, "a step's input");
  if (!device.ok()) return device.status();
  input.device_memory_ = *std::move(device);
  return input;
}

absl::StatusOr<StepInput::Sizes> StepInput::SizesOf(const Batch& batch, int64_t bucket,
                                                    const Beside& beside) const {
  const int64_t tokens = batch.tokens.size(), sequences = NumSequences(batch);
  Sizes sizes = {.tokens = std::max(tokens, bucket),
                 .logit_rows = std::max<int64_t>(batch.logit_rows.size(), bucket),
                 .tiles = bucket > 0 ? bucket - sequences : 0,
                 .row_tiles = bucket > 0 ? 0 : static_cast<int64_t>(batch.logit_rows.size()),
                 .pages = bucket > sequences ? 1 : 0,
                 .beside = beside};
  int64_t longest = 0;
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t pages = PagesOf(batch, s);
    longest = std::max(longest, pages);
    sizes.pages += pages;
    sizes.tiles += CeilDiv(batch.offsets[s + 1] - batch.offsets[s], tile_tokens_);
  }
  if (sizes.tokens <= limits_.max_tokens && sequences <= limits_.max_sequences &&
      longest <= limits_.max_pages && sizes.logit_rows <= limits_.max_tokens &&
      beside.plan <= most_.plan && beside.extra <= most_.extra) {
    return sizes;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "a step of ", tokens, " tokens, ", sequences, " sequences, ", longest,
      " pages of one of them and ", beside.plan, " and ", beside.extra,
      " bytes beside; the model was made for ", limits_.max_tokens, ", ", limits_.max_sequences,
      ", ", limits_.max_pages, " and ", most_.plan, " and ", most_.extra));
}

void StepInput::AddSequences(const Batch& batch, const StepArrays& host) const {
  int32_t place = 0;
  for (int64_t s = 0; s < NumSequences(batch); ++s) {
    std::fill(host.sequences + batch.offsets[s], host.sequences + batch.offsets[s + 1], place);
    const auto pages = batch.block_tables.begin() + s * batch.block_table_stride;
    const int64_t count = PagesOf(batch, s);
    std::copy(pages, pages + count, host.block_tables + place);
    place += static_cast<int32_t>(count);
  }
}

// Sequences with several tokens first: their tiles are one kernel's, the others' another's.
void StepInput::AddTiles(const Batch& batch, const StepArrays& host, StepShape* shape) const {
  cuda::AttentionTile* tile = host.tiles;
  for (int64_t s = 0; s < NumSequences(batch); ++s) {
    const int32_t begin = batch.offsets[s], count = batch.offsets[s + 1] - begin;
    for (int32_t done = 0; count > 1 && done < count; done += tile_tokens_) {
      *tile++ = {host.sequences[begin], begin + done, std::min<int32_t>(tile_tokens_, count - done),
                 batch.positions[begin] + done};
    }
  }
  // The kernel takes the last ones first: so the longest, and those that end it are short.
  std::stable_sort(host.tiles, tile,
                   [](const cuda::AttentionTile& a, const cuda::AttentionTile& b) {
                     return a.position + a.num_tokens < b.position + b.num_tokens;
                   });
  shape->prefill_tiles = tile - host.tiles;
  int64_t longest = 0;
  for (int64_t s = 0; s < NumSequences(batch); ++s) {
    const int32_t begin = batch.offsets[s];
    if (batch.offsets[s + 1] - begin != 1) continue;
    *tile++ = {host.sequences[begin], begin, 1, batch.positions[begin]};
    longest = std::max<int64_t>(longest, batch.positions[begin] + 1);
  }
  shape->decode_tiles = tile - host.tiles - shape->prefill_tiles;
  shape->max_splits = CeilDiv(longest, cuda::kSplitTokens);
}

void StepInput::AddRows(const Batch& batch, const StepArrays& host, StepShape* shape) {
  for (int32_t i = 0; i < shape->logit_rows; ++i) {
    const int32_t token = batch.logit_rows[i], position = batch.positions[token];
    host.row_positions[i] = position;
    host.row_tiles[i] = {host.sequences[token], i, 1, position};
    shape->row_splits =
        std::max(shape->row_splits, CeilDiv(int64_t{position} + 1, cuda::kSplitTokens));
  }
  // One row's keys and values take about as long as those of a tile of many.
  shape->few_rows = shape->logit_rows <= shape->prefill_tiles + shape->decode_tiles;
}

void StepInput::Fill(int64_t bucket, int32_t spare_page, int64_t spare_place,
                     const StepArrays& host, StepShape* shape) {
  if (shape->tokens == bucket) return;
  const int32_t place = static_cast<int32_t>(spare_place);
  host.block_tables[place] = spare_page;
  for (int32_t t = static_cast<int32_t>(shape->tokens); t < bucket; ++t) {
    host.tokens[t] = 0;
    host.positions[t] = 0;
    host.sequences[t] = place;
    host.logit_rows[t] = t;
    host.tiles[t] = {place, t, 1, 0};
  }
  shape->tokens = shape->decode_tiles = shape->logit_rows = bucket;
}

absl::StatusOr<UploadedStep> StepInput::Upload(const Batch& batch, int64_t bucket,
                                               int32_t spare_page, absl::Span<const char> plan,
                                               absl::Span<const char> extra, cudaStream_t stream) {
  const absl::StatusOr<Sizes> sizes = SizesOf(
      batch, bucket, {static_cast<int64_t>(plan.size()), static_cast<int64_t>(extra.size())});
  if (!sizes.ok()) return sizes.status();
  const CudaMemory& host_memory = host_memory_[std::exchange(next_, 1 - next_)];
  int64_t bytes = 0;
  const StepArrays host = Carve(*sizes, host_memory.data(), &bytes);
  UploadedStep step = {.arrays = Carve(*sizes, device_memory_.data(), &bytes),
                       .shape = {.tokens = static_cast<int64_t>(batch.tokens.size()),
                                 .logit_rows = static_cast<int64_t>(batch.logit_rows.size())}};
  std::copy(batch.tokens.begin(), batch.tokens.end(), host.tokens);
  std::copy(batch.positions.begin(), batch.positions.end(), host.positions);
  std::copy(batch.logit_rows.begin(), batch.logit_rows.end(), host.logit_rows);
  AddSequences(batch, host);
  AddTiles(batch, host, &step.shape);
  if (bucket > 0) {
    Fill(bucket, spare_page, sizes->pages - 1, host, &step.shape);
  } else {
    AddRows(batch, host, &step.shape);
  }
  std::copy(plan.begin(), plan.end(), host.plan);
  std::copy(extra.begin(), extra.end(), host.extra);
  // Kernels may read what is constant in a step before the kernel before them is complete. A graph
  // begins after all that was launched before it; a step without one does after a copy.
  SIEVE_RETURN_IF_CUDA(
      bucket > 0 ? cuda::CopyHost(host_memory.data(), device_memory_.data(), bytes, stream)
                 : cudaMemcpyAsync(device_memory_.data(), host_memory.data(), bytes,
                                   cudaMemcpyHostToDevice, stream),
      "copying a step's input");
  return step;
}

}  // namespace sieve
