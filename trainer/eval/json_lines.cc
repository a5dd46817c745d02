#include "trainer/eval/json_lines.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "trainer/text_source.h"

namespace sieve {

absl::StatusOr<std::vector<nlohmann::json>> ReadJsonLines(const std::string& path, int64_t limit) {
  std::vector<nlohmann::json> objects;
  const absl::Status status =
      ReadDocuments({.path = path, .fields = {}}, [&](const std::string& text) {
        int64_t number = 0;
        for (const absl::string_view line : absl::StrSplit(text, '\n')) {
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
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  return objects;
}

absl::StatusOr<std::string> TextField(const nlohmann::json& object, const char* key,
                                      const std::string& path) {
  const auto found = object.find(key);
  if (found != object.end() && found->is_string()) return found->get<std::string>();
  return absl::InvalidArgumentError(absl::StrCat(path, ": a line has no text \"", key, "\""));
}

}  // namespace sieve
