#include "model/checkpoint/pad_vocabulary.h"

#include "absl/strings/str_cat.h"

namespace sieve {

absl::Status PadVocabulary(const ModelConfig& config, Vocabulary& vocabulary) {
  const size_t rows = static_cast<size_t>(config.vocabulary_size);
  if (vocabulary.tokens.size() > rows) {
    return absl::InvalidArgumentError(absl::StrCat("the tokenizer has ", vocabulary.tokens.size(),
                                                   " tokens, the embedding only ", rows, " rows"));
  }
  vocabulary.tokens.resize(rows, {.bytes = "", .kind = Vocabulary::Kind::kUnused});
  return absl::OkStatus();
}

}  // namespace sieve
