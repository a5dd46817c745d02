#ifndef SIEVE_TRAINER_TEXT_SOURCE_H_
#define SIEVE_TRAINER_TEXT_SOURCE_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace sieve {

// A file of text, as it is or gzip-compressed.
struct TextSource {
  std::string path;
  // Empty: the file is one document. Else it is JSON lines, and a document is these fields of a
  // line, with an empty line between them.
  std::vector<std::string> fields;
};

// Calls `each` with every document in order, until it returns an error, which is returned.
// NOT_FOUND without the file; INVALID_ARGUMENT, naming file and line, for what is no JSON or lacks
// a field; DATA_LOSS for a damaged gzip file.
absl::Status ReadDocuments(const TextSource& source,
                           const std::function<absl::Status(const std::string&)>& each);

}  // namespace sieve

#endif  // SIEVE_TRAINER_TEXT_SOURCE_H_
