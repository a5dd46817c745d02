#ifndef SIEVE_MODEL_ADAPTER_ADAPTER_CONFIG_H_
#define SIEVE_MODEL_ADAPTER_ADAPTER_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace sieve {

// How the blocks that a token attends to are chosen; docs/adapters.md has the formulas.
enum class Selector { kIndex, kGate, kCompressed, kMean, kMax, kQuest, kQuestMean, kOracle };

// How the tokens of a compression block become one key or one value. kTilted is of both or of none.
enum class Compression { kTilted, kMean, kMax, kMlp };

// How the branches become one output.
enum class Combiner {
  kLogSumExp,  // one softmax over all that is attended, compressed entries with a learned bias
  kLiteral,    // a softmax a branch, weighted by sigmoid gates (Native Sparse Attention)
};

// What an adapter computes and for which model: adapter_config.json. Blocks are pages of the cache.
struct AdapterConfig {
  // The model that it was made for.
  std::string base_model;   // its name, for people
  std::string base_digest;  // BaseDigest of it, 64 hex digits
  int64_t num_layers = 0;
  int64_t hidden_size = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;

  // What a token reads exactly.
  int64_t sink_blocks = 1;            // first blocks of the context, always read
  int64_t window_blocks = 8;          // blocks before the token's own, always read
  int64_t selected_blocks = 8;        // blocks chosen among the others
  int64_t query_tile = 1;             // tokens of a prompt that share a choice: 1, 16 or 64
  std::vector<int64_t> dense_layers;  // layers that keep dense attention, ascending

  Selector selector = Selector::kIndex;
  int64_t index_rank = 16;  // kIndex: channels of a token in the index
  int64_t index_bits = 4;   // kIndex: of a channel, 4 or 16 (16: as the cache's type)

  // The compressed branch.
  bool tail = true;                // kLogSumExp without it is plain top-k attention
  int64_t compression_block = 64;  // tokens an entry: 8, 16, 32 or 64
  Compression key_compression = Compression::kTilted;
  Compression value_compression = Compression::kTilted;
  bool value_residual_mlp = false;   // kTilted: an MLP beside the tilted mean of values
  bool shared_compression = false;   // one MLP for all key/value heads of a layer
  double expand_factor = 1;          // inner width of an MLP over compression_block * head_dim
  bool position_embeddings = false;  // learned, added to keys and values before compression

  Combiner combiner = Combiner::kLogSumExp;
  bool branch_biases = false;  // kLogSumExp: also a learned bias of the window's and the selected's

  int64_t entries_per_block() const;  // compressed entries
  int64_t inner_size() const;         // of a compression MLP
  bool is_dense(int64_t layer) const;
  // Whether blocks have compressed entries: for the tail, for the literal combiner or for scores.
  bool has_compressed_branch() const;
  int64_t combined_parts() const;  // rows of combine.bias: 0, 1 or 3
};

// INVALID_ARGUMENT, naming the field, for options that contradict each other or are out of range.
absl::Status ValidateAdapterConfig(const AdapterConfig& config);

}  // namespace sieve

#endif  // SIEVE_MODEL_ADAPTER_ADAPTER_CONFIG_H_
