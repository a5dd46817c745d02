#include "trainer/eval/json_lines.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "trainer/text_file.h"

namespace sieve {

absl::StatusOr<std::vector<nlohmann::json>> ReadJsonLines(const std::string& path, int64_t limit) {
  const absl::StatusOr<std::unique_ptr<TextFile>> file = TextFile::Open(path);
  if (!file.ok()) return file.status();
  const absl::StatusOr<std::string> text = ReadAll(**file);
  if (!text.ok()) return text.status();
  std::vector<nlohmann::json> objects;
  int64_t number = 0;
  for (const absl::string_view line : absl::StrSplit(*text, '\n')) {
    ++number;
    if (line.empty()) continue;
    if (limit > 0 && static_cast<int64_t>(objects.size()) == limit) break;
    nlohmann::json object =
        nlohmann::json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
    if (!object.is_object()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ", line ", number, " is no JSON object"));
    }
    objects.push_back(std::move(object));
  }
  return objects;
}

absl::StatusOr<std::string> TextField(const nlohmann::json& object, const char* key,
                                      const std::string& path) {
  const auto found = object.find(key);
  if (found != object.end() && found->is_string()) return found->get<std::string>();
  return absl::InvalidArgumentError(absl::StrCat(path, ": a line has no text \"", key, "\""));
}

}  // namespace sieve
