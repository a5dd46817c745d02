#include "model/tokenizer/added_tokens.h"

#include <algorithm>

namespace sieve {

AddedTokens::AddedTokens(const Vocabulary& vocabulary, bool include_special) {
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const Vocabulary::Token& token = vocabulary.tokens[id];
    if (token.kind == Vocabulary::Kind::kUserDefined ||
        (include_special && token.kind == Vocabulary::Kind::kSpecial)) {
      tokens_.emplace_back(token.bytes, id);
      starts_token_[static_cast<uint8_t>(token.bytes[0])] = true;
    }
  }
  std::sort(tokens_.begin(), tokens_.end());
}

std::optional<AddedTokens::Match> AddedTokens::Find(std::string_view text, size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (!starts_token_[static_cast<uint8_t>(text[begin])]) continue;
    Match match = LongestPrefix(text.substr(begin));
    if (match.length == 0) continue;
    match.begin = begin;
    return match;
  }
  return std::nullopt;
}

AddedTokens::Match AddedTokens::LongestPrefix(std::string_view text) const {
  Match longest;
  // The tokens that share the first `depth` bytes with the text.
  auto first = tokens_.begin();
  auto last = tokens_.end();
  for (size_t depth = 0; first != last; ++depth) {
    if (first->first.size() == depth) {
      longest = {0, depth, first->second};
      ++first;
    }
    if (depth == text.size()) break;
    const uint8_t byte = text[depth];
    const auto byte_of = [depth](const auto& token) {
      return static_cast<uint8_t>(token.first[depth]);
    };
    first = std::partition_point(first, last, [&](const auto& t) { return byte_of(t) < byte; });
    last = std::partition_point(first, last, [&](const auto& t) { return byte_of(t) == byte; });
  }
  return longest;
}

}  // namespace sieve
