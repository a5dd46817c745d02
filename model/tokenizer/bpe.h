#ifndef SIEVE_MODEL_TOKENIZER_BPE_H_
#define SIEVE_MODEL_TOKENIZER_BPE_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/tokenizer/vocabulary.h"

namespace sieve {

// Byte-pair encoding of single words: the pair of neighbours with the lowest rank merges first, the
// leftmost of equals, until none is left. Immutable and thread-safe.
class Bpe {
 public:
  // INVALID_ARGUMENT for merges that name ids out of range, special tokens, or results that are no
  // tokens, for repeated merges, and for two ordinary tokens of the same bytes. REQUIRES:
  // `vocabulary` outlives this.
  static absl::StatusOr<std::unique_ptr<Bpe>> Create(const Vocabulary& vocabulary);

  // Appends the tokens of `word`. Bytes that the vocabulary has no token for are left out, as in
  // Hugging Face's BPE without an unknown token. Time is O(n log n) in the length. REQUIRES:
  // word.size() < 2^31.
  void EncodeWord(std::string_view word, std::vector<int32_t>* ids) const;

 private:
  struct Merge {
    uint32_t rank;
    int32_t result;
  };

  Bpe() = default;
  absl::Status IndexTokens(const Vocabulary& vocabulary);
  absl::Status AddListedMerges(const Vocabulary& vocabulary);
  absl::Status AddMergesById(const Vocabulary& vocabulary);
  absl::Status AddMerge(int32_t left, int32_t right, Merge merge);
  // Leaves in whole_words_ those tokens that merging makes of their own bytes.
  void KeepReachableWords();

  Merge Find(int32_t left, int32_t right) const;
  void MergeShort(std::string_view word, std::vector<int32_t>* ids) const;
  void MergeLong(std::string_view word, std::vector<int32_t>* ids) const;

  std::array<int32_t, 256> byte_tokens_;         // -1: none
  absl::flat_hash_map<uint64_t, Merge> merges_;  // by left id << 32 | right id
  // Tokens that a word of their bytes becomes. The keys view the vocabulary's strings.
  absl::flat_hash_map<absl::string_view, int32_t> whole_words_;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_TOKENIZER_BPE_H_
