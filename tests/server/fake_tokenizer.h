#ifndef SIEVE_TESTS_SERVER_FAKE_TOKENIZER_H_
#define SIEVE_TESTS_SERVER_FAKE_TOKENIZER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/tokenizer/tokenizer.h"

namespace sieve {

// Tokens 0 .. 255 are the bytes, then come `words`, then "<eos>", the only special one.
class FakeTokenizer : public Tokenizer {
 public:
  explicit FakeTokenizer(const std::vector<std::string>& words = {}) {
    for (int byte = 0; byte < 256; ++byte) Add(std::string(1, static_cast<char>(byte)));
    for (const std::string& word : words) Add(word);
    vocabulary_.eos = {static_cast<int32_t>(vocabulary_.tokens.size())};
    Add("<eos>");
    vocabulary_.tokens.back().kind = Vocabulary::Kind::kSpecial;
  }

  std::vector<int32_t> Encode(std::string_view text, const EncodeOptions&) const override {
    std::vector<int32_t> ids;
    for (const char byte : text) ids.push_back(static_cast<unsigned char>(byte));
    return ids;
  }
  std::string_view TokenBytes(int32_t id) const override { return vocabulary_.tokens.at(id).bytes; }
  bool IsSpecial(int32_t id) const override {
    return vocabulary_.tokens.at(id).kind == Vocabulary::Kind::kSpecial;
  }
  int64_t vocabulary_size() const override { return vocabulary_.tokens.size(); }
  const Vocabulary& vocabulary() const override { return vocabulary_; }

  int32_t eos() const { return vocabulary_.eos.front(); }

 private:
  void Add(std::string bytes) {
    vocabulary_.tokens.push_back({std::move(bytes), Vocabulary::Kind::kNormal});
  }

  Vocabulary vocabulary_;
};

}  // namespace sieve

#endif  // SIEVE_TESTS_SERVER_FAKE_TOKENIZER_H_
