#ifndef SIEVE_MODEL_TOKENIZER_WORD_SPLITTER_H_
#define SIEVE_MODEL_TOKENIZER_WORD_SPLITTER_H_

#include <memory>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "model/tokenizer/vocabulary.h"

namespace sieve {

// Cuts text into the words within which byte-pair merges happen, by the regular expression of a
// family of tokenizers. Immutable and thread-safe.
//
// Text that is not UTF-8 is cut where it would be if each maximal ill-formed subpart were U+FFFD (a
// character that is neither letter, number nor space); the words keep the original bytes.
class WordSplitter {
 public:
  static absl::StatusOr<std::unique_ptr<WordSplitter>> Create(PreTokenizer kind);
  virtual ~WordSplitter() = default;

  // Calls `word` with each word in order: their concatenation is `text`. Time is linear in the
  // length.
  virtual void Split(std::string_view text,
                     absl::FunctionRef<void(std::string_view)> word) const = 0;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_TOKENIZER_WORD_SPLITTER_H_
