#include "model/tokenizer/tokenizer_json.h"

#include <algorithm>
#include <bitset>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/json.h"
#include "model/checkpoint/quoted.h"
#include "model/tokenizer/byte_alphabet.h"
#include "model/tokenizer/token_index.h"
#include "model/tokenizer/tokenizer_folder.h"
#include "model/tokenizer/tokenizer_pipeline.h"

namespace sieve {
namespace {

using nlohmann::json;
using Kind = Vocabulary::Kind;

absl::Status Error(const std::string& where, const std::string& reason) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", reason));
}

// The place of token `id`, made if needed.
absl::StatusOr<Vocabulary::Token*> Place(const json& id, Vocabulary* vocabulary) {
  if (!id.is_number_integer() || id < 0 || id >= kMaxVocabularySize) {
    return absl::InvalidArgumentError(
        absl::StrCat("its id is not an integer from 0 to ", kMaxVocabularySize - 1));
  }
  std::vector<Vocabulary::Token>& tokens = vocabulary->tokens;
  const size_t index = id.get<size_t>();
  if (index >= tokens.size()) tokens.resize(index + 1, {"", Kind::kUnused});
  return &tokens[index];
}

absl::Status ReadAddedToken(const json& entry, Vocabulary* vocabulary) {
  if (!entry.is_object()) return absl::InvalidArgumentError("is not an object");
  std::string content;
  absl::Status status = GetField(entry, "content", content);
  if (!status.ok()) return status;
  if (content.empty()) return absl::InvalidArgumentError("has no content");
  for (const char* key : {"single_word", "lstrip", "rstrip"}) {
    bool set = false;
    status = GetField(entry, key, set);
    if (!status.ok()) return status;
    if (set) return Error(Quoted(content), absl::StrCat("\"", key, "\" is not supported"));
  }
  bool special = false;
  status = GetField(entry, "special", special);
  if (!status.ok()) return status;
  const auto token = Place(entry.value("id", json()), vocabulary);
  if (!token.ok()) return Error(Quoted(content), std::string(token.status().message()));
  if ((*token)->kind != Kind::kUnused) {
    return Error(Quoted(content), "its id is also that of " + Quoted((*token)->bytes));
  }
  **token = {std::move(content), special ? Kind::kSpecial : Kind::kUserDefined};
  return absl::OkStatus();
}

absl::Status ReadAddedTokens(const json& file, Vocabulary* vocabulary) {
  const auto list = file.find("added_tokens");
  if (list == file.end() || list->is_null()) return absl::OkStatus();
  if (!list->is_array()) return absl::InvalidArgumentError("added_tokens: is not a list");
  for (size_t i = 0; i < list->size(); ++i) {
    const absl::Status status = ReadAddedToken((*list)[i], vocabulary);
    if (!status.ok()) {
      return Error(absl::StrCat("added_tokens[", i, "]"), std::string(status.message()));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadVocab(const json& model, Vocabulary* vocabulary) {
  const auto vocab = model.find("vocab");
  if (vocab == model.end() || !vocab->is_object()) {
    return absl::InvalidArgumentError("model.vocab: is not an object");
  }
  for (const auto& [text, id] : vocab->items()) {
    const std::string where = "model.vocab: " + Quoted(text);
    const auto token = Place(id, vocabulary);
    if (!token.ok()) return Error(where, std::string(token.status().message()));
    // Added tokens are in both lists, as they are.
    if ((*token)->kind != Kind::kUnused) {
      if ((*token)->kind != Kind::kNormal && (*token)->bytes == text) continue;
      return Error(where, absl::StrCat("its id ", id.get<int64_t>(), " is also that of ",
                                       Quoted((*token)->bytes)));
    }
    std::optional<std::string> bytes = BytesFromAlphabet(text);
    if (!bytes.has_value() || bytes->empty()) {
      return Error(where, "is not in the byte-level alphabet");
    }
    **token = {*std::move(bytes), Kind::kNormal};
  }
  return absl::OkStatus();
}

// A merge as "left right" or ["left", "right"].
absl::StatusOr<std::pair<int32_t, int32_t>> ReadMerge(const json& merge, const TokenIndex& index) {
  if (merge.is_string()) return index.FindMerge(merge.get_ref<const std::string&>());
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return index.FindPair(merge[0].get_ref<const std::string&>(),
                          merge[1].get_ref<const std::string&>());
  }
  return absl::InvalidArgumentError("is neither a string nor a pair of strings");
}

absl::Status ReadMerges(const json& model, Vocabulary* vocabulary) {
  const auto merges = model.find("merges");
  if (merges == model.end() || !merges->is_array()) {
    return absl::InvalidArgumentError("model.merges: is not a list");
  }
  const TokenIndex index(*vocabulary);
  vocabulary->merges.reserve(merges->size());
  for (size_t i = 0; i < merges->size(); ++i) {
    const auto pair = ReadMerge((*merges)[i], index);
    if (!pair.ok()) {
      return Error(absl::StrCat("model.merges[", i, "]"), std::string(pair.status().message()));
    }
    vocabulary->merges.push_back(*pair);
  }
  return absl::OkStatus();
}

bool HasAllBytes(const Vocabulary& vocabulary) {
  std::bitset<256> present;
  for (const Vocabulary::Token& token : vocabulary.tokens) {
    if (token.bytes.size() == 1) present.set(static_cast<uint8_t>(token.bytes[0]));
  }
  return present.all();
}

absl::Status ReadModelOptions(const json& model, Vocabulary* vocabulary) {
  std::string type = "BPE";  // absent from old files
  std::string prefix, suffix, unknown;
  bool byte_fallback = false;
  double dropout = 0;
  for (const absl::Status& status :
       {GetField(model, "type", type), GetField(model, "continuing_subword_prefix", prefix),
        GetField(model, "end_of_word_suffix", suffix), GetField(model, "unk_token", unknown),
        GetField(model, "byte_fallback", byte_fallback), GetField(model, "dropout", dropout),
        GetField(model, "ignore_merges", vocabulary->ignore_merges)}) {
    if (!status.ok()) return Error("model", std::string(status.message()));
  }
  if (type != "BPE") return Error("model.type", Quoted(type) + " is not supported: \"BPE\" is");
  if (!prefix.empty() || !suffix.empty() || dropout != 0) {
    return Error("model", "prefixes, suffixes and dropout are not supported");
  }
  // Neither matters when every byte has a token.
  if ((!unknown.empty() || byte_fallback) && !HasAllBytes(*vocabulary)) {
    return Error("model",
                 "unk_token and byte_fallback are supported only if every byte has a token");
  }
  return absl::OkStatus();
}

absl::StatusOr<Vocabulary> ReadFile(const json& file) {
  const auto model = file.find("model");
  if (model == file.end() || !model->is_object()) {
    return absl::InvalidArgumentError("model: is not an object");
  }
  Vocabulary vocabulary;
  absl::Status status = ReadAddedTokens(file, &vocabulary);
  if (status.ok()) status = ReadVocab(*model, &vocabulary);
  if (status.ok()) status = ReadModelOptions(*model, &vocabulary);
  if (status.ok()) status = ReadMerges(*model, &vocabulary);
  if (status.ok()) status = ReadTokenizerPipeline(file, &vocabulary);
  if (!status.ok()) return status;
  return vocabulary;
}

}  // namespace

absl::StatusOr<Vocabulary> ReadTokenizerJson(const std::string& path) {
  const absl::StatusOr<json> file = ReadJsonObject(path);
  if (!file.ok()) return file.status();
  absl::StatusOr<Vocabulary> vocabulary = ReadFile(*file);
  if (!vocabulary.ok()) return Error(path, std::string(vocabulary.status().message()));
  const absl::Status status =
      ReadTokenizerFolder(path.substr(0, path.rfind('/') + 1), &*vocabulary);
  if (!status.ok()) return status;
  return vocabulary;
}

}  // namespace sieve
