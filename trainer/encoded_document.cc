#include "trainer/encoded_document.h"

#include <utility>
#include <vector>

namespace sieve {
namespace {

EncodedDocument EncodePassages(const std::vector<Passage>& passages, const Tokenizer& tokenizer) {
  EncodedDocument out;
  for (const Passage& passage : passages) {
    const std::vector<int32_t> tokens =
        tokenizer.Encode(passage.text, {.add_special_tokens = &passage == &passages.front()});
    const int64_t begin = static_cast<int64_t>(out.tokens.size());
    out.tokens.insert(out.tokens.end(), tokens.begin(), tokens.end());
    const int64_t end = static_cast<int64_t>(out.tokens.size());
    if (passage.is_answer && end > begin) out.answers.push_back({begin, end});
  }
  return out;
}

}  // namespace

EncodedDocument EncodeDocument(const Document& document, const Tokenizer& tokenizer,
                               const ChatFormat* chat) {
  if (document.turns.empty()) return EncodePassages(document.passages, tokenizer);
  ChatTranscript transcript = chat->EncodeTranscript(tokenizer, document.turns);
  EncodedDocument out;
  out.tokens = std::move(transcript.ids);
  for (const auto& [begin, end] : transcript.replies) out.answers.push_back({begin, end});
  return out;
}

}  // namespace sieve
