// Chat formatting. Parts: the checkpoint's template (after a byte of options), then messages, each
// with its role in the first byte.

#include <algorithm>
#include <string>
#include <vector>

#include "model/chat/chat_format.h"
#include "model/chat/trim.h"
#include "model/tokenizer/tokenizer.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/model_checks.h"

namespace {

using namespace sieve;  // NOLINT: LLVMFuzzerTestOneInput must be outside

constexpr size_t kMostParts = 12;

Vocabulary FuzzVocabulary() {
  Vocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back({std::string(1, static_cast<char>(byte))});
  }
  for (const char* name : {"<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>",
                           "<|end_header_id|>", "<|eot_id|>"}) {
    vocabulary.tokens.push_back({name, Vocabulary::Kind::kSpecial});
  }
  vocabulary.bos = 258;
  return vocabulary;
}

// A tokenizer with another template, made without compiling its patterns again.
class WithTemplate : public Tokenizer {
 public:
  WithTemplate(const Tokenizer& base, std::string chat_template, bool add_bos)
      : base_(base), vocabulary_(base.vocabulary()) {
    vocabulary_.chat_template = std::move(chat_template);
    vocabulary_.add_bos = add_bos;
  }
  std::vector<int32_t> Encode(std::string_view text, const EncodeOptions& options) const override {
    return base_.Encode(text, options);
  }
  std::string_view TokenBytes(int32_t id) const override { return base_.TokenBytes(id); }
  bool IsSpecial(int32_t id) const override { return base_.IsSpecial(id); }
  int64_t vocabulary_size() const override { return base_.vocabulary_size(); }
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  const Tokenizer& base_;
  Vocabulary vocabulary_;
};

std::vector<ChatTurn> ReadTurns(const std::vector<std::string_view>& parts) {
  std::vector<ChatTurn> turns;
  for (size_t i = 1; i < parts.size(); ++i) {
    if (parts[i].empty()) continue;
    const int role = static_cast<unsigned char>(parts[i][0]) % 3;
    turns.push_back({static_cast<ChatRole>(role), std::string(parts[i].substr(1))});
  }
  return turns;
}

int64_t Count(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, std::string_view name) {
  return std::count_if(ids.begin(), ids.end(),
                       [&](int32_t id) { return tokenizer.TokenBytes(id) == name; });
}

// One header a message, one for the answer, one for a system message that the template adds.
void CheckHeaders(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool chatml,
                  int64_t turns) {
  const int64_t headers = Count(tokenizer, ids, chatml ? "<|im_start|>" : "<|start_header_id|>");
  FUZZ_CHECK(headers == turns + 1 || headers == turns + 2, headers, " for ", turns);
  FUZZ_CHECK(Count(tokenizer, ids, chatml ? "<|im_end|>" : "<|eot_id|>") == headers - 1);
  const int64_t ends = chatml ? 0 : headers;
  FUZZ_CHECK(Count(tokenizer, ids, "<|end_header_id|>") == ends);
  FUZZ_CHECK(Count(tokenizer, ids, "<|begin_of_text|>") <= 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* const base = Tokenizer::Create(FuzzVocabulary()).value().release();
  InputReader reader(InputText(data, size));
  const bool add_bos = reader.Number<uint8_t>() % 2 == 1;
  const auto parts = SplitParts(reader.Rest(), kMostParts);
  const WithTemplate tokenizer(*base, std::string(parts[0]), add_bos);
  const auto format = ChatFormatFor(tokenizer);
  if (!format.ok()) {
    CheckRefusal(format.status(), absl::StatusCode::kFailedPrecondition);
    return 0;
  }
  const std::vector<ChatTurn> turns = ReadTurns(parts);
  const std::vector<int32_t> ids = (*format)->Encode(tokenizer, turns);
  CheckHeaders(tokenizer, ids, (*format)->name() == "chatml", turns.size());
  const std::string text = DecodeBytes(tokenizer, ids, /*include_special_tokens=*/true);
  size_t from = 0;
  for (const ChatTurn& turn : turns) {
    const std::string_view content = Trim(turn.content);  // spaces around a content may go
    from = text.find(content, from);
    FUZZ_CHECK(from != text.npos, "lacks ", turn.content);
    from += content.size();
  }
  return 0;
}
