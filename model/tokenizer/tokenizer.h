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

// Byte-level BPE. Immutable and thread-safe.
class Tokenizer {
 public:
  // INVALID_ARGUMENT for a vocabulary that contradicts itself.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(Vocabulary vocabulary);
  virtual ~Tokenizer() = default;

  // Any bytes are accepted, valid UTF-8 or not. Time is linear in the length (times log for one long word).
  virtual std::vector<int32_t> Encode(std::string_view text, const EncodeOptions& options) const = 0;

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
