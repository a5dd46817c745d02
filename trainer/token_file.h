#ifndef SIEVE_TRAINER_TOKEN_FILE_H_
#define SIEVE_TRAINER_TOKEN_FILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/checkpoint/mapped_file.h"
#include "model/tokenizer/tokenizer.h"
#include "trainer/document.h"
#include "trainer/text_source.h"

namespace sieve {

// Tokenised documents, mapped.
class TokenFile {
 public:
  // INVALID_ARGUMENT for what is none, is of another version or truncated.
  static absl::StatusOr<TokenFile> Open(const std::string& path);

  // Of the sources' bytes and options and the vocabulary: 64 hex digits.
  const std::string& digest() const { return digest_; }
  absl::Span<const int32_t> tokens() const { return tokens_; }
  // Where each document ends in `tokens`; ascending.
  absl::Span<const int64_t> document_ends() const { return ends_; }
  // Ranges of `tokens` that are answers; ascending, each within a document.
  absl::Span<const TokenRange> answers() const { return answers_; }

 private:
  explicit TokenFile(MappedFile file) : file_(std::move(file)) {}

  MappedFile file_;
  std::string digest_;
  absl::Span<const int32_t> tokens_;
  absl::Span<const int64_t> ends_;
  absl::Span<const TokenRange> answers_;
};

// The documents of the sources in order, as EncodeDocument and MakeRetrievalDocuments give them.
// They are tokenised once: the file is kept in `folder`, which is made when absent, under its
// digest. The errors of those functions and of ReadDocuments, and those of writing.
absl::StatusOr<TokenFile> TokeniseOnce(const std::vector<TextSource>& sources,
                                       const Tokenizer& tokenizer, const std::string& folder);

}  // namespace sieve

#endif  // SIEVE_TRAINER_TOKEN_FILE_H_
