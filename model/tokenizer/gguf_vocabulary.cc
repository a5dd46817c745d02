#include "model/tokenizer/gguf_vocabulary.h"

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/quoted.h"
#include "model/tokenizer/byte_alphabet.h"
#include "model/tokenizer/end_tokens.h"
#include "model/tokenizer/token_index.h"

namespace sieve {
namespace {

using Metadata = std::map<std::string, GgufValue, std::less<>>;
using Kind = Vocabulary::Kind;

absl::Status Error(std::string_view key, const std::string& reason) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(key), ": ", reason));
}

// The value of `key`; nullptr when it is absent. INVALID_ARGUMENT when it is not `expected`.
template <typename T>
absl::StatusOr<const T*> Optional(const Metadata& metadata, std::string_view key,
                                  const char* expected) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) return nullptr;
  const T* value = std::get_if<T>(&found->second);
  if (value == nullptr) return Error(key, absl::StrCat("is not ", expected));
  return value;
}

template <typename T>
absl::StatusOr<const T*> Required(const Metadata& metadata, std::string_view key,
                                  const char* expected) {
  const absl::StatusOr<const T*> value = Optional<T>(metadata, key, expected);
  if (value.ok() && *value == nullptr) return Error(key, "is missing");
  return value;
}

absl::Status ReadToken(std::string_view text, int64_t type, Vocabulary::Token* token) {
  // The types that GGUF's specification gives numbers to.
  enum : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5 };
  switch (type) {
    case kNormal: {
      std::optional<std::string> bytes = BytesFromAlphabet(text);
      if (!bytes.has_value()) {
        return absl::InvalidArgumentError(
            absl::StrCat(Quoted(text), " is not in the byte-level alphabet"));
      }
      *token = {*std::move(bytes), Kind::kNormal};
      return absl::OkStatus();
    }
    case kUnknown:
    case kControl:
      *token = {std::string(text), Kind::kSpecial};
      return absl::OkStatus();
    case kUserDefined:
      *token = {std::string(text), Kind::kUserDefined};
      return absl::OkStatus();
    case kUnused:
      *token = {"", Kind::kUnused};
      return absl::OkStatus();
    default:
      return absl::InvalidArgumentError(absl::StrCat("has type ", type, ", which is unknown here"));
  }
}

absl::Status ReadTokens(const Metadata& metadata, Vocabulary* vocabulary) {
  constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
  constexpr std::string_view kTypes = "tokenizer.ggml.token_type";
  const auto tokens =
      Required<std::vector<std::string_view>>(metadata, kTokens, "an array of strings");
  if (!tokens.ok()) return tokens.status();
  const auto types = Required<std::vector<int64_t>>(metadata, kTypes, "an array of integers");
  if (!types.ok()) return types.status();
  const size_t size = (*tokens)->size();
  if ((*types)->size() != size) {
    return Error(kTypes, absl::StrCat("has ", (*types)->size(), " entries for ", size, " tokens"));
  }
  if (size > kMaxVocabularySize) return Error(kTokens, absl::StrCat("has ", size, " entries"));
  vocabulary->tokens.resize(size);
  for (size_t id = 0; id < size; ++id) {
    const absl::Status status = ReadToken((**tokens)[id], (**types)[id], &vocabulary->tokens[id]);
    if (!status.ok()) {
      return Error(kTokens, absl::StrCat("token ", id, ": ", status.message()));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadMerges(const Metadata& metadata, Vocabulary* vocabulary) {
  constexpr std::string_view kMerges = "tokenizer.ggml.merges";
  const auto merges =
      Required<std::vector<std::string_view>>(metadata, kMerges, "an array of strings");
  if (!merges.ok()) return merges.status();
  const TokenIndex index(*vocabulary);
  vocabulary->merges.reserve((*merges)->size());
  for (const std::string_view merge : **merges) {
    const auto pair = index.FindMerge(merge);
    if (!pair.ok()) {
      return Error(kMerges, absl::StrCat("entry ", vocabulary->merges.size(), ": ",
                                         pair.status().message()));
    }
    vocabulary->merges.push_back(*pair);
  }
  return absl::OkStatus();
}

// What the pre-tokenizers' names imply, as llama.cpp's converter gives them out.
struct Pre {
  std::string_view name;
  PreTokenizer pre_tokenizer;
  bool ignore_merges;
  bool add_bos;  // where the file does not say
};
constexpr Pre kPres[] = {
    {"gpt-2", PreTokenizer::kGpt2, false, false},
    {"llama-bpe", PreTokenizer::kLlama3, true, true},
    {"llama3", PreTokenizer::kLlama3, true, true},
    {"llama-v3", PreTokenizer::kLlama3, true, true},
    {"smaug-bpe", PreTokenizer::kLlama3, false, false},
    {"smollm", PreTokenizer::kSmolLm, false, false},
};

absl::Status ReadPreTokenizer(const Metadata& metadata, Vocabulary* vocabulary) {
  constexpr std::string_view kModel = "tokenizer.ggml.model";
  constexpr std::string_view kPre = "tokenizer.ggml.pre";
  const auto model = Required<std::string_view>(metadata, kModel, "a string");
  if (!model.ok()) return model.status();
  if (**model != "gpt2") {
    return Error(kModel, Quoted(**model) + " is not supported: \"gpt2\" (byte-level BPE) is");
  }
  const auto name = Required<std::string_view>(metadata, kPre, "a string");
  if (!name.ok()) return name.status();
  for (const Pre& pre : kPres) {
    if (pre.name != **name) continue;
    vocabulary->pre_tokenizer = pre.pre_tokenizer;
    vocabulary->ignore_merges = pre.ignore_merges;
    vocabulary->add_bos = pre.add_bos;
    return absl::OkStatus();
  }
  return Error(kPre,
               Quoted(**name) + " is not supported: gpt-2, llama-bpe, smaug-bpe and smollm are");
}

absl::StatusOr<std::optional<int32_t>> ReadId(const Metadata& metadata, std::string_view key,
                                              const Vocabulary& vocabulary) {
  const auto id = Optional<int64_t>(metadata, key, "an integer");
  if (!id.ok()) return id.status();
  if (*id == nullptr) return std::optional<int32_t>();
  if (**id < 0 || **id >= static_cast<int64_t>(vocabulary.tokens.size())) {
    return Error(key, absl::StrCat("token ", **id, " of ", vocabulary.tokens.size()));
  }
  return std::optional<int32_t>(**id);
}

absl::Status ReadNamedTokens(const Metadata& metadata, Vocabulary* vocabulary) {
  const auto bos = ReadId(metadata, "tokenizer.ggml.bos_token_id", *vocabulary);
  if (!bos.ok()) return bos.status();
  vocabulary->bos = *bos;

  constexpr std::string_view kAddBos = "tokenizer.ggml.add_bos_token";
  const auto add_bos = Optional<bool>(metadata, kAddBos, "true or false");
  if (!add_bos.ok()) return add_bos.status();
  if (*add_bos != nullptr) vocabulary->add_bos = **add_bos;
  if (vocabulary->add_bos && !vocabulary->bos.has_value()) {
    return Error(kAddBos, "is true but there is no tokenizer.ggml.bos_token_id");
  }

  for (const std::string_view key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                     "tokenizer.ggml.eom_token_id"}) {
    const auto id = ReadId(metadata, key, *vocabulary);
    if (!id.ok()) return id.status();
    if (id->has_value()) AddEndToken(**id, vocabulary);
  }
  AddWellKnownEndTokens(vocabulary);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Vocabulary> VocabularyFromGguf(const Metadata& metadata) {
  Vocabulary vocabulary;
  for (const auto read : {ReadPreTokenizer, ReadTokens, ReadMerges, ReadNamedTokens}) {
    const absl::Status status = read(metadata, &vocabulary);
    if (!status.ok()) return status;
  }
  const auto chat_template =
      Optional<std::string_view>(metadata, "tokenizer.chat_template", "a string");
  if (!chat_template.ok()) return chat_template.status();
  if (*chat_template != nullptr) vocabulary.chat_template = **chat_template;
  return vocabulary;
}

}  // namespace sieve
