#include "model/checkpoint/json.h"

#include <cmath>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/mapped_file.h"
#include "model/checkpoint/quoted.h"

namespace sieve {
namespace {

using nlohmann::json;

constexpr size_t kMaxJsonBytes = 64 << 20;
// Copying and printing a value recurse into it.
constexpr int kMaxDepth = 64;

// nullptr when the field is absent or null.
const json* Find(const json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

absl::Status WrongType(const char* key, const char* expected) {
  return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" is not ", expected));
}

}  // namespace

absl::StatusOr<json> ParseJsonObject(std::string_view text) {
  std::set<std::string> keys;
  std::string duplicate;
  bool too_deep = false;
  const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
    too_deep |= depth > kMaxDepth;
    if (event == json::parse_event_t::key && depth == 1) {
      const std::string& key = parsed.get_ref<const std::string&>();
      if (!keys.insert(key).second) duplicate = key;
    }
    return !too_deep;  // what comes then is parsed but not kept
  };
  json object = json::parse(text, watch, /*allow_exceptions=*/false);
  if (too_deep) {
    return absl::InvalidArgumentError(absl::StrCat("nested deeper than ", kMaxDepth, " levels"));
  }
  if (object.is_discarded()) return absl::InvalidArgumentError("malformed JSON");
  if (!object.is_object()) return absl::InvalidArgumentError("not a JSON object");
  if (!duplicate.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("\"", duplicate, "\" appears twice"));
  }
  return object;
}

absl::StatusOr<json> ReadJsonObject(const std::string& path) {
  absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  if (file->bytes().size() > kMaxJsonBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": larger than ", kMaxJsonBytes, " bytes"));
  }
  absl::StatusOr<json> object = ParseJsonObject(file->bytes());
  if (!object.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", object.status().message()));
  }
  return object;
}

absl::Status CheckKeys(const json& object, const std::set<std::string>& known) {
  if (!object.is_object()) return absl::InvalidArgumentError("not a JSON object");
  for (const auto& [key, value] : object.items()) {
    if (!known.contains(key)) {
      return absl::InvalidArgumentError(absl::StrCat("unknown key ", Quoted(key)));
    }
  }
  return absl::OkStatus();
}

absl::Status GetField(const json& object, const char* key, int64_t& value) {
  const json* field = Find(object, key);
  if (field == nullptr) return absl::OkStatus();
  if (!field->is_number_integer()) return WrongType(key, "an integer");
  if (field->is_number_unsigned() &&
      field->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return WrongType(key, "an integer of 64 bits");
  }
  value = field->get<int64_t>();
  return absl::OkStatus();
}

absl::Status GetField(const json& object, const char* key, double& value) {
  const json* field = Find(object, key);
  if (field == nullptr) return absl::OkStatus();
  if (!field->is_number() || !std::isfinite(field->get<double>())) {
    return WrongType(key, "a finite number");
  }
  value = field->get<double>();
  return absl::OkStatus();
}

absl::Status GetField(const json& object, const char* key, bool& value) {
  const json* field = Find(object, key);
  if (field == nullptr) return absl::OkStatus();
  if (!field->is_boolean()) return WrongType(key, "true or false");
  value = field->get<bool>();
  return absl::OkStatus();
}

absl::Status GetField(const json& object, const char* key, std::string& value) {
  const json* field = Find(object, key);
  if (field == nullptr) return absl::OkStatus();
  if (!field->is_string()) return WrongType(key, "a string");
  value = field->get<std::string>();
  return absl::OkStatus();
}

}  // namespace sieve
