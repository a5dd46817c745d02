#ifndef SIEVE_TRAINER_TEXT_SOURCE_H_
#define SIEVE_TRAINER_TEXT_SOURCE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "trainer/document.h"
#include "trainer/retrieval_documents.h"

namespace sieve {

// What a file of text holds.
enum class TextFormat {
  kText,   // one document
  kLines,  // JSON lines; a document is the fields of a line, with an empty line between them
  kGsm8k,  // JSON lines with "question" and "answer": https://github.com/openai/grade-school-math
  // JSON lines; a document is a conversation: "messages", a list of objects with "role" (system,
  // user, assistant) and "content", or else the fields, of which the last is the assistant's reply
  // and the others, as far as they are there, are the user's message.
  kChat,
};

// A file of text, as it is or compressed (see TextFile).
struct TextSource {
  std::string path;
  std::vector<std::string> fields = {};  // of kLines and kChat
  TextFormat format = TextFormat::kText;
  int64_t join = 1;  // so many documents of passages become one, with an empty line between them
  // With documents: what is trained on is made of the documents' text.
  RetrievalOptions retrieval = {};
};

// Calls `each` with every document in order, until it returns an error, which is returned.
// NOT_FOUND without the file; INVALID_ARGUMENT, naming file and line, for what is no JSON or lacks
// a field; DATA_LOSS for a damaged compressed file.
absl::Status ReadDocuments(const TextSource& source,
                           const std::function<absl::Status(Document)>& each);

}  // namespace sieve

#endif  // SIEVE_TRAINER_TEXT_SOURCE_H_
