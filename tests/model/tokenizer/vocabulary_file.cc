#include "tests/model/tokenizer/vocabulary_file.h"

#include <memory>

#include "absl/strings/match.h"
#include "model/checkpoint/gguf.h"
#include "model/tokenizer/gguf_vocabulary.h"
#include "model/tokenizer/tiktoken_model.h"
#include "model/tokenizer/tokenizer_json.h"

namespace sieve {

absl::StatusOr<Vocabulary> ReadVocabularyFile(const std::string& path) {
  if (absl::EndsWith(path, ".json")) return ReadTokenizerJson(path);
  if (!absl::EndsWith(path, ".gguf")) return ReadTiktokenModel(path);
  const absl::StatusOr<std::unique_ptr<GgufFile>> file = GgufFile::Open(path);
  if (!file.ok()) return file.status();
  return VocabularyFromGguf((*file)->metadata());
}

}  // namespace sieve
