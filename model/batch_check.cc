#include "model/batch_check.h"

#include "absl/strings/str_cat.h"
#include "model/cache/geometry.h"

namespace sieve {
namespace {

absl::Status Wrong(absl::string_view what) {
  return absl::InternalError(absl::StrCat("malformed batch: ", what));
}

absl::Status CheckSequence(const Batch& batch, int64_t s, int64_t num_pages) {
  const int64_t begin = batch.offsets[s], end = batch.offsets[s + 1];
  if (begin >= end) return Wrong(absl::StrCat("sequence ", s, " has no tokens"));
  if (batch.positions[begin] < 0) return Wrong("a negative position");
  for (int64_t t = begin + 1; t < end; ++t) {
    if (batch.positions[t] != batch.positions[t - 1] + 1) {
      return Wrong(absl::StrCat("positions of sequence ", s, " are not consecutive"));
    }
  }
  const int64_t pages = batch.positions[end - 1] / kPageTokens + 1;
  if (pages > batch.block_table_stride) {
    return Wrong(absl::StrCat("sequence ", s, " needs ", pages, " pages, its table has ",
                              batch.block_table_stride));
  }
  for (int64_t i = 0; i < pages; ++i) {
    const int32_t page = batch.block_tables[s * batch.block_table_stride + i];
    if (page < 0 || page >= num_pages) {
      return Wrong(absl::StrCat("page ", page, " of sequence ", s, " is not one of the ", num_pages,
                                " there are"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckBatch(const Batch& batch, int64_t logits_size, int64_t vocabulary_size,
                        int64_t num_pages, int64_t pending, int64_t slots) {
  const int64_t tokens = batch.tokens.size();
  if (batch.positions.size() != tokens) return Wrong("as many positions as tokens are needed");
  if (batch.offsets.empty() || batch.offsets.front() != 0 || batch.offsets.back() != tokens) {
    return Wrong("offsets do not span the tokens");
  }
  const int64_t sequences = static_cast<int64_t>(batch.offsets.size()) - 1;
  if (batch.block_table_stride < 0 ||
      batch.block_tables.size() < sequences * batch.block_table_stride) {
    return Wrong("block tables are shorter than their stride says");
  }
  for (int32_t token : batch.tokens) {
    if (token < -pending || token >= vocabulary_size) {
      return Wrong(absl::StrCat("token ", token, " is outside the vocabulary"));
    }
  }
  for (int64_t s = 0; s < sequences; ++s) {
    const absl::Status status = CheckSequence(batch, s, num_pages);
    if (!status.ok()) return status;
  }
  if (!batch.adapters.empty() && batch.adapters.size() != sequences) {
    return Wrong("as many adapters as sequences are needed");
  }
  if (!batch.prompt_tokens.empty() && batch.prompt_tokens.size() != sequences) {
    return Wrong("as many lengths of prompts as sequences are needed");
  }
  for (int32_t slot : batch.adapters) {
    if (slot < -1 || slot >= slots) return Wrong(absl::StrCat("there is no adapter slot ", slot));
  }
  for (int32_t row : batch.logit_rows) {
    if (row < 0 || row >= tokens) return Wrong(absl::StrCat("no token ", row, " for logits"));
  }
  if (logits_size != static_cast<int64_t>(batch.logit_rows.size()) * vocabulary_size) {
    return Wrong("the logits' size is not rows times vocabulary");
  }
  return absl::OkStatus();
}

absl::Status CheckTiles(const Batch& batch, int64_t s, int64_t query_tile) {
  const int64_t begin = batch.positions[batch.offsets[s]];
  const int64_t end = batch.positions[batch.offsets[s + 1] - 1] + 1;
  const int64_t tiled = batch.prompt(s) / query_tile * query_tile;
  for (const int64_t edge : {begin, end}) {
    if (edge < tiled && edge % query_tile != 0) {
      return Wrong(absl::StrCat("sequence ", s, ", positions ", begin, " to ", end,
                                " (not included), cuts a tile of ", query_tile,
                                " tokens of its prompt of ", batch.prompt(s)));
    }
  }
  return absl::OkStatus();
}

}  // namespace sieve
