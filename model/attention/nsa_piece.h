#ifndef SIEVE_MODEL_ATTENTION_NSA_PIECE_H_
#define SIEVE_MODEL_ATTENTION_NSA_PIECE_H_

#include <cstdint>

#include "kernels/block_summary.h"
#include "model/adapter/adapter.h"
#include "model/attention/variant.h"

namespace sieve {

// A layer of an adapter that is not dense.
struct NsaLayer {
  const AdapterConfig* config = nullptr;
  const AdapterLayer* weights = nullptr;
  const SummaryLayout* layout = nullptr;
  const float* index_q = nullptr;  // [num_kv_heads, index_rank, head_dim]
  bool rope_interleaved = false;
};

// Consecutive tokens of one sequence that lie in one block, so that they have the same candidates.
struct NsaPiece {
  const AttentionArgs* args = nullptr;
  int64_t sequence = 0;        // of the batch
  int64_t begin = 0;           // first token of the batch
  int64_t count = 0;           // at most 64
  int64_t first_position = 0;  // of `begin`
  bool shared = false;         // a tile of the prompt: one choice for all tokens
};

// Floats of scratch for pieces of `tokens` tokens in contexts of `blocks` blocks.
int64_t NsaPieceScratchFloats(const AdapterConfig& config, const SummaryLayout& layout,
                              int64_t tokens, int64_t blocks);

// Query heads of one key/value head: those that the choice of blocks is made for are all of its
// group, those that are attended for [begin, end) of it.
struct NsaHeads {
  int64_t kv_head = 0;
  int64_t begin = 0;
  int64_t end = 0;
};

// Writes the output of the piece's tokens and of `heads`. Single-threaded. What a token and a head
// get does not depend on the others of the piece, unless it is shared, nor on which heads there
// are.
void AttendPiece(const NsaLayer& layer, const NsaPiece& piece, const NsaHeads& heads,
                 float* scratch);

}  // namespace sieve

#endif  // SIEVE_MODEL_ATTENTION_NSA_PIECE_H_
