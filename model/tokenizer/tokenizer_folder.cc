#include "model/tokenizer/tokenizer_folder.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/json.h"
#include "model/checkpoint/mapped_file.h"
#include "model/checkpoint/quoted.h"
#include "model/tokenizer/end_tokens.h"

namespace sieve {
namespace {

using nlohmann::json;

// The id of the token that `config` names under `key` (a string or an object with its "content");
// nullopt when it names none.
absl::StatusOr<std::optional<int32_t>> ReadTokenName(const json& config, const char* key,
                                                     const Vocabulary& vocabulary) {
  auto field = config.find(key);
  if (field == config.end() || field->is_null()) return std::optional<int32_t>();
  const json* name = &*field;
  if (name->is_object() && name->contains("content")) name = &(*name)["content"];
  if (!name->is_string()) {
    return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" names no token"));
  }
  const std::string& bytes = name->get_ref<const std::string&>();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const Vocabulary::Token& token = vocabulary.tokens[id];
    if (token.kind == Vocabulary::Kind::kSpecial && token.bytes == bytes) {
      return std::optional<int32_t>(id);
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", key, "\": ", Quoted(bytes), " is no special token of tokenizer.json"));
}

absl::Status ReadChatTemplate(const json& config, Vocabulary* vocabulary) {
  const auto field = config.find("chat_template");
  if (field == config.end() || field->is_null()) return absl::OkStatus();
  if (field->is_string()) {
    vocabulary->chat_template = field->get<std::string>();
    return absl::OkStatus();
  }
  // A list of named templates; "default" is the one for conversations.
  if (!field->is_array()) {
    return absl::InvalidArgumentError("\"chat_template\" is neither a string nor a list");
  }
  for (const json& entry : *field) {
    if (!entry.is_object()) {
      return absl::InvalidArgumentError("\"chat_template\" lists something else than objects");
    }
    std::string name;
    absl::Status status = GetField(entry, "name", name);
    if (status.ok() && name == "default") {
      status = GetField(entry, "template", vocabulary->chat_template);
    }
    if (!status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("\"chat_template\": ", status.message()));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadTokenizerConfig(const json& config, Vocabulary* vocabulary) {
  const auto bos = ReadTokenName(config, "bos_token", *vocabulary);
  if (!bos.ok()) return bos.status();
  if (!vocabulary->bos.has_value()) vocabulary->bos = *bos;
  const auto eos = ReadTokenName(config, "eos_token", *vocabulary);
  if (!eos.ok()) return eos.status();
  if (eos->has_value()) AddEndToken(**eos, vocabulary);

  // A post-processor that puts bos first has been seen already.
  bool add_bos = false;
  const absl::Status status = GetField(config, "add_bos_token", add_bos);
  if (!status.ok()) return status;
  if (add_bos && !vocabulary->bos.has_value()) {
    return absl::InvalidArgumentError("\"add_bos_token\" is true but there is no bos_token");
  }
  vocabulary->add_bos |= add_bos;
  return ReadChatTemplate(config, vocabulary);
}

absl::Status AddEosIds(const json& config, Vocabulary* vocabulary) {
  const absl::StatusOr<std::vector<int32_t>> ids = ReadEosIds(config, vocabulary->tokens.size());
  if (!ids.ok()) return ids.status();
  for (const int32_t id : *ids) AddEndToken(id, vocabulary);
  return absl::OkStatus();
}

// Applies `read` to the file, if there is one.
absl::Status ReadConfig(const std::string& path,
                        absl::Status (*read)(const json& config, Vocabulary* vocabulary),
                        Vocabulary* vocabulary) {
  const absl::StatusOr<json> config = ReadJsonObject(path);
  if (absl::IsNotFound(config.status())) return absl::OkStatus();
  if (!config.ok()) return config.status();
  const absl::Status status = read(*config, vocabulary);
  if (status.ok()) return status;
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", status.message()));
}

}  // namespace

absl::StatusOr<std::vector<int32_t>> ReadEosIds(const json& config, int64_t vocabulary_size) {
  const auto field = config.find("eos_token_id");
  if (field == config.end() || field->is_null()) return std::vector<int32_t>();
  const json ids = field->is_array() ? *field : json::array({*field});
  std::vector<int32_t> result;
  for (const json& id : ids) {
    if (!id.is_number_integer() || id < 0 || id >= vocabulary_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"eos_token_id\" has an entry that is not 0 to ", vocabulary_size - 1));
    }
    result.push_back(id.get<int32_t>());
  }
  return result;
}

absl::Status ReadTokenizerFolder(const std::string& folder, Vocabulary* vocabulary) {
  absl::Status status =
      ReadConfig(folder + "tokenizer_config.json", ReadTokenizerConfig, vocabulary);
  if (!status.ok()) return status;
  for (const char* name : {"generation_config.json", "config.json"}) {
    status = ReadConfig(folder + name, AddEosIds, vocabulary);
    if (!status.ok()) return status;
  }
  const absl::StatusOr<MappedFile> jinja = MappedFile::Open(folder + "chat_template.jinja");
  if (absl::IsNotFound(jinja.status())) return absl::OkStatus();
  if (!jinja.ok()) return jinja.status();
  vocabulary->chat_template = jinja->bytes();
  return absl::OkStatus();
}

}  // namespace sieve
