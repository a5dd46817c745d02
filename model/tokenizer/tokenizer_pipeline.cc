#include "model/tokenizer/tokenizer_pipeline.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/quoted.h"

namespace sieve {
namespace {

using nlohmann::json;

constexpr char kLlama3Pattern[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

// The field of an object; null when there is none or `value` is no object.
const json& Field(const json& value, const char* key) {
  static const json* const null = new json;
  if (!value.is_object()) return *null;
  const auto found = value.find(key);
  return found == value.end() ? *null : *found;
}

bool IsType(const json& value, const char* type) { return Field(value, "type") == type; }

absl::Status Unsupported(const char* key, const json& value) {
  const std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  return absl::InvalidArgumentError(absl::StrCat(key, ": not supported: ", Quoted(text)));
}

// The steps of a Sequence (under `list`), or the one step that `value` is.
std::vector<const json*> Steps(const json& value, const char* list) {
  std::vector<const json*> steps;
  if (IsType(value, "Sequence")) {
    for (const json& step : Field(value, list)) steps.push_back(&step);
  } else if (!value.is_null()) {
    steps.push_back(&value);
  }
  return steps;
}

bool IsByteLevel(const json& step, bool use_regex) {
  // The file format's default for use_regex is true.
  const json& regex = Field(step, "use_regex");
  return IsType(step, "ByteLevel") && Field(step, "add_prefix_space") == false &&
         (regex.is_null() ? use_regex : regex == use_regex);
}

bool IsLlama3Split(const json& step) {
  return IsType(step, "Split") && Field(Field(step, "pattern"), "Regex") == kLlama3Pattern &&
         Field(step, "behavior") == "Isolated" && Field(step, "invert") != true;
}

bool IsDigits(const json& step) {
  return IsType(step, "Digits") && Field(step, "individual_digits") == true;
}

std::optional<PreTokenizer> RecognisePreTokenizer(const json& value) {
  const std::vector<const json*> steps = Steps(value, "pretokenizers");
  if (steps.size() == 1 && IsByteLevel(*steps[0], /*use_regex=*/true)) return PreTokenizer::kGpt2;
  if (steps.size() != 2) return std::nullopt;
  if (IsLlama3Split(*steps[0]) && IsByteLevel(*steps[1], /*use_regex=*/false)) {
    return PreTokenizer::kLlama3;
  }
  if (IsDigits(*steps[0]) && IsByteLevel(*steps[1], /*use_regex=*/true)) {
    return PreTokenizer::kSmolLm;
  }
  return std::nullopt;
}

// The id of the one special token before sequence A in a TemplateProcessing; nullopt when the
// template is A alone. False when it is anything else.
bool ReadTemplate(const json& step, std::optional<int64_t>* first) {
  const json& pieces = Field(step, "single");
  if (!pieces.is_array() || pieces.empty() || pieces.size() > 2) return false;
  if (Field(Field(pieces.back(), "Sequence"), "id") != "A") return false;
  if (pieces.size() == 1) return true;
  const json& name = Field(Field(pieces.front(), "SpecialToken"), "id");
  if (!name.is_string()) return false;
  const json& special =
      Field(Field(step, "special_tokens"), name.get_ref<const std::string&>().c_str());
  const json& ids = Field(special, "ids");
  if (!ids.is_array() || ids.size() != 1 || !ids[0].is_number_integer()) return false;
  *first = ids[0].get<int64_t>();
  return true;
}

absl::Status ReadPostProcessor(const json& value, Vocabulary* vocabulary) {
  for (const json* step : Steps(value, "processors")) {
    if (IsType(*step, "ByteLevel")) continue;  // only moves offsets
    std::optional<int64_t> first;
    if (!IsType(*step, "TemplateProcessing") || !ReadTemplate(*step, &first)) {
      return Unsupported("post_processor", *step);
    }
    if (!first.has_value()) continue;
    if (*first < 0 || *first >= static_cast<int64_t>(vocabulary->tokens.size())) {
      return absl::InvalidArgumentError(
          absl::StrCat("post_processor: token ", *first, " of ", vocabulary->tokens.size()));
    }
    vocabulary->bos = *first;
    vocabulary->add_bos = true;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadTokenizerPipeline(const json& file, Vocabulary* vocabulary) {
  const json& normalizer = Field(file, "normalizer");
  if (!normalizer.is_null()) return Unsupported("normalizer", normalizer);
  const json& value = Field(file, "pre_tokenizer");
  const std::optional<PreTokenizer> pre_tokenizer = RecognisePreTokenizer(value);
  if (!pre_tokenizer.has_value()) return Unsupported("pre_tokenizer", value);
  vocabulary->pre_tokenizer = *pre_tokenizer;
  return ReadPostProcessor(Field(file, "post_processor"), vocabulary);
}

}  // namespace sieve
