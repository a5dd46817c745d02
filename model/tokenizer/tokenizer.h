#ifndef SIEVE_MODEL_TOKENIZER_TOKENIZER_H_
#define SIEVE_MODEL_TOKENIZER_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/tokenizer/vocabulary.h"

namespace sieve {

struct EncodeOptions {
  bool add_special_tokens = true;     // bos first, where the vocabulary says add_bos
  bool parse_special_tokens = false;  // special tokens' names in the text become those tokens
};

// Byte-level BPE. Immutable and thread-safe. The tokens are those of Hugging Face `tokenizers`
// (0.23) for any text.
//
// The tokens' bytes are those of the text, in order, whenever the vocabulary has a token for each
// of the 256 bytes. Some do not (SmolLM2 lacks 21: a few control characters and bytes that UTF-8
// hardly or never uses); such bytes are left out, as Hugging Face does.
//
// Added tokens are matched left to right, the longest of those that begin at a place.
class Tokenizer {
 public:
  // INVALID_ARGUMENT for a vocabulary that contradicts itself.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(Vocabulary vocabulary);
  virtual ~Tokenizer() = default;

  // Any bytes are accepted: those that are not valid UTF-8 are encoded as they are, and words end
  // where they would if each maximal ill-formed subpart were U+FFFD. Time is linear in the length
  // (times log for one long word). REQUIRES: text.size() < 2^31.
  virtual std::vector<int32_t> Encode(std::string_view text,
                                      const EncodeOptions& options) const = 0;

  // A token's own bytes, special tokens by name. REQUIRES: 0 <= id < vocabulary_size().
  virtual std::string_view TokenBytes(int32_t id) const = 0;
  virtual bool IsSpecial(int32_t id) const = 0;

  virtual int64_t vocabulary_size() const = 0;
  virtual const Vocabulary& vocabulary() const = 0;
};

// Concatenated bytes of the tokens, special ones left out unless asked. Not necessarily UTF-8.
// REQUIRES: every id in range.
std::string DecodeBytes(const Tokenizer& tokenizer, absl::Span<const int32_t> ids,
                        bool include_special_tokens);

}  // namespace sieve

#endif  // SIEVE_MODEL_TOKENIZER_TOKENIZER_H_
