#ifndef SIEVE_TESTS_MODEL_ATTENTION_NSA_REFERENCE_H_
#define SIEVE_TESTS_MODEL_ATTENTION_NSA_REFERENCE_H_

#include <cstdint>
#include <vector>

#include "model/adapter/adapter.h"

namespace sieve {

// One layer's attention over a whole sequence.
struct NsaSequence {
  AdapterConfig config;
  AdapterLayer layer;
  int64_t tokens = 0;
  int64_t prompt = 0;               // tokens
  std::vector<float> q;             // [tokens, num_heads, head_dim], rotated
  std::vector<float> k, v;          // [tokens, num_kv_heads, head_dim], keys rotated
  std::vector<float> hidden;        // [tokens, hidden_size]
  std::vector<double> frequencies;  // of RoPE
  bool rope_interleaved = false;
};

struct NsaResult {
  std::vector<float> out;                      // [tokens, num_heads, head_dim]
  std::vector<std::vector<int64_t>> selected;  // [tokens * num_kv_heads] blocks, ascending
  double closest = 1;  // the smallest gap between a block that was selected and one that was not
};

// docs/adapters.md as it stands: all at once, in double, with masks, without pages or summaries.
NsaResult NsaReference(const NsaSequence& sequence);

}  // namespace sieve

#endif  // SIEVE_TESTS_MODEL_ATTENTION_NSA_REFERENCE_H_
