#include "model/tokenizer/tokenizer.h"

#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/quoted.h"
#include "model/tokenizer/added_tokens.h"
#include "model/tokenizer/bpe.h"
#include "model/tokenizer/word_splitter.h"

namespace sieve {
namespace {

using Kind = Vocabulary::Kind;

absl::Status CheckTokens(const Vocabulary& vocabulary) {
  if (vocabulary.tokens.empty()) return absl::InvalidArgumentError("vocabulary: no tokens");
  if (vocabulary.tokens.size() > kMaxVocabularySize) {
    return absl::InvalidArgumentError(absl::StrCat("vocabulary: ", vocabulary.tokens.size(),
                                                   " tokens, more than ", kMaxVocabularySize));
  }
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const Vocabulary::Token& token = vocabulary.tokens[id];
    if (token.bytes.empty() && token.kind != Kind::kUnused) {
      return absl::InvalidArgumentError(absl::StrCat("vocabulary: token ", id, " has no bytes"));
    }
    if (token.bytes.size() > kMaxTokenBytes) {
      return absl::InvalidArgumentError(absl::StrCat("vocabulary: token ", id, " has ",
                                                     token.bytes.size(), " bytes, more than ",
                                                     kMaxTokenBytes));
    }
  }
  return absl::OkStatus();
}

// Ordinary tokens are checked where they are indexed.
absl::Status CheckSpecialNames(const Vocabulary& vocabulary) {
  std::map<std::string_view, size_t> ids;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const Vocabulary::Token& token = vocabulary.tokens[id];
    if (token.kind != Kind::kSpecial) continue;
    const auto [entry, inserted] = ids.try_emplace(token.bytes, id);
    if (inserted) continue;
    return absl::InvalidArgumentError(absl::StrCat("vocabulary: special tokens ", entry->second,
                                                   " and ", id, " are both ", Quoted(token.bytes)));
  }
  return absl::OkStatus();
}

absl::Status CheckNamedIds(const Vocabulary& vocabulary) {
  const auto check = [&](const char* name, int64_t id) {
    if (id >= 0 && id < static_cast<int64_t>(vocabulary.tokens.size())) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("vocabulary: ", name, " is token ", id, " of ", vocabulary.tokens.size()));
  };
  if (vocabulary.add_bos && !vocabulary.bos.has_value()) {
    return absl::InvalidArgumentError("vocabulary: bos comes first but no token is bos");
  }
  if (vocabulary.bos.has_value()) {
    const absl::Status status = check("bos", *vocabulary.bos);
    if (!status.ok()) return status;
    if (vocabulary.tokens[*vocabulary.bos].kind == Kind::kUnused) {
      return absl::InvalidArgumentError(
          absl::StrCat("vocabulary: bos is token ", *vocabulary.bos, ", which stands for nothing"));
    }
  }
  for (const int32_t id : vocabulary.eos) {
    const absl::Status status = check("eos", id);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

class BpeTokenizer : public Tokenizer {
 public:
  explicit BpeTokenizer(Vocabulary vocabulary)
      : vocabulary_(std::move(vocabulary)),
        user_defined_(vocabulary_, /*include_special=*/false),
        all_added_(vocabulary_, /*include_special=*/true) {}

  absl::Status Init() {
    absl::StatusOr<std::unique_ptr<Bpe>> bpe = Bpe::Create(vocabulary_);
    if (!bpe.ok()) return bpe.status();
    bpe_ = *std::move(bpe);
    absl::StatusOr<std::unique_ptr<WordSplitter>> splitter =
        WordSplitter::Create(vocabulary_.pre_tokenizer);
    if (!splitter.ok()) return splitter.status();
    splitter_ = *std::move(splitter);
    return absl::OkStatus();
  }

  std::vector<int32_t> Encode(std::string_view text, const EncodeOptions& options) const override {
    std::vector<int32_t> ids;
    ids.reserve(text.size() / 4 + 1);
    if (options.add_special_tokens && vocabulary_.add_bos) ids.push_back(*vocabulary_.bos);
    const AddedTokens& added = options.parse_special_tokens ? all_added_ : user_defined_;
    size_t begin = 0;
    while (const std::optional<AddedTokens::Match> match = added.Find(text, begin)) {
      EncodeOrdinary(text.substr(begin, match->begin - begin), &ids);
      ids.push_back(match->id);
      begin = match->begin + match->length;
    }
    EncodeOrdinary(text.substr(begin), &ids);
    return ids;
  }

  std::string_view TokenBytes(int32_t id) const override { return vocabulary_.tokens[id].bytes; }
  bool IsSpecial(int32_t id) const override {
    return vocabulary_.tokens[id].kind == Kind::kSpecial;
  }
  int64_t vocabulary_size() const override { return vocabulary_.tokens.size(); }
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  void EncodeOrdinary(std::string_view text, std::vector<int32_t>* ids) const {
    splitter_->Split(text, [&](std::string_view word) { bpe_->EncodeWord(word, ids); });
  }

  const Vocabulary vocabulary_;
  const AddedTokens user_defined_;
  const AddedTokens all_added_;
  std::unique_ptr<Bpe> bpe_;
  std::unique_ptr<WordSplitter> splitter_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Create(Vocabulary vocabulary) {
  absl::Status status = CheckTokens(vocabulary);
  if (status.ok()) status = CheckSpecialNames(vocabulary);
  if (status.ok()) status = CheckNamedIds(vocabulary);
  if (!status.ok()) return status;
  auto tokenizer = std::make_unique<BpeTokenizer>(std::move(vocabulary));
  status = tokenizer->Init();
  if (!status.ok()) return status;
  return tokenizer;
}

std::string DecodeBytes(const Tokenizer& tokenizer, absl::Span<const int32_t> ids,
                        bool include_special_tokens) {
  std::string bytes;
  for (const int32_t id : ids) {
    if (include_special_tokens || !tokenizer.IsSpecial(id)) bytes += tokenizer.TokenBytes(id);
  }
  return bytes;
}

}  // namespace sieve
