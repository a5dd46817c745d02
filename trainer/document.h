#ifndef SIEVE_TRAINER_DOCUMENT_H_
#define SIEVE_TRAINER_DOCUMENT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/chat/chat_format.h"

namespace sieve {

// A piece of a document's text. Answers are what a task loss is of.
struct Passage {
  std::string text;
  bool is_answer = false;
};

// A document as it is read: passages one after another, or a conversation.
struct Document {
  std::vector<Passage> passages = {};
  std::vector<ChatTurn> turns = {};
};

// Tokens [begin, end).
struct TokenRange {
  int64_t begin = 0;
  int64_t end = 0;
};

struct EncodedDocument {
  std::vector<int32_t> tokens;
  std::vector<TokenRange> answers;  // ascending, apart from each other
};

}  // namespace sieve

#endif  // SIEVE_TRAINER_DOCUMENT_H_
