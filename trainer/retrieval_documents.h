#ifndef SIEVE_TRAINER_RETRIEVAL_DOCUMENTS_H_
#define SIEVE_TRAINER_RETRIEVAL_DOCUMENTS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/tokenizer/tokenizer.h"
#include "trainer/document.h"

namespace sieve {

struct RetrievalOptions {
  int64_t documents = 0;                // how many; 0: none are made
  int64_t tokens = 0;                   // of a document
  std::vector<int64_t> facts = {4, 8};  // of a document, of which each draws one
  uint64_t seed = 1;
};

// Documents for training retrieval: an excerpt of `text` in which facts ("The secret number of
// harbour-gentle is 48213.") lie at random places, and at its end a question for each in another
// order, whose number is marked as the answer. Keys are words of the excerpt, numbers have five
// digits, and the wording is one of a few. Each has exactly options.tokens tokens (bos included
// where the vocabulary has it first). Calls `each` until it returns an error, which is returned.
//
// INVALID_ARGUMENT for a text without words, or facts that leave no room for an excerpt.
absl::Status MakeRetrievalDocuments(
    const std::string& text, const RetrievalOptions& options, const Tokenizer& tokenizer,
    const std::function<absl::Status(const EncodedDocument&)>& each);

}  // namespace sieve

#endif  // SIEVE_TRAINER_RETRIEVAL_DOCUMENTS_H_
