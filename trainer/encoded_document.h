#ifndef SIEVE_TRAINER_ENCODED_DOCUMENT_H_
#define SIEVE_TRAINER_ENCODED_DOCUMENT_H_

#include "model/chat/chat_format.h"
#include "model/tokenizer/tokenizer.h"
#include "trainer/document.h"

namespace sieve {

// Tokens of a document: bos first where the vocabulary says so, then each passage on its own, or
// the conversation in the model's chat format. Its answers are those passages, or the assistant's
// replies with the token that ends them. REQUIRES: `chat`, for a conversation.
EncodedDocument EncodeDocument(const Document& document, const Tokenizer& tokenizer,
                               const ChatFormat* chat);

}  // namespace sieve

#endif  // SIEVE_TRAINER_ENCODED_DOCUMENT_H_
