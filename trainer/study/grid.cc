#include "trainer/study/grid.h"

#include <filesystem>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/checkpoint/json.h"

namespace sieve {
namespace {

using nlohmann::json;

struct Variant {
  std::string name;
  json patch;
};

absl::Status Invalid(absl::string_view key, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(key, " must be ", expected));
}

absl::StatusOr<std::vector<Variant>> ParseVariants(const json& axis) {
  const json variants = axis.value("variants", json());
  if (!variants.is_array() || variants.empty()) return Invalid("variants", "a list, not empty");
  std::vector<Variant> out;
  std::set<std::string> names;
  for (const json& object : variants) {
    Variant variant;
    absl::Status status = CheckKeys(object, {"name", "run"});
    if (status.ok()) status = GetField(object, "name", variant.name);
    if (!status.ok()) return status;
    if (variant.name.empty() || !names.insert(variant.name).second) {
      return Invalid("a variant's name", "given, and another for each");
    }
    variant.patch = object.value("run", json::object());
    if (!variant.patch.is_object()) return Invalid("a variant's run", "an object");
    out.push_back(variant);
  }
  return out;
}

// Adds the combinations with each variant of one more axis.
void Multiply(const std::vector<Variant>& variants, std::vector<std::vector<Variant>>* cells) {
  std::vector<std::vector<Variant>> out;
  for (const std::vector<Variant>& cell : *cells) {
    for (const Variant& variant : variants) {
      out.push_back(cell);
      out.back().push_back(variant);
    }
  }
  *cells = std::move(out);
}

absl::Status ParseCells(const json& object, const std::string& data_folder, StudyGrid* grid) {
  const json axes = object.value("axes", json::array());
  if (!axes.is_array()) return Invalid("axes", "a list");
  std::vector<std::vector<Variant>> cells(1);
  for (const json& axis : axes) {
    std::string name;
    absl::Status status = CheckKeys(axis, {"name", "variants"});
    if (status.ok()) status = GetField(axis, "name", name);
    if (!status.ok()) return status;
    if (name.empty()) return Invalid("an axis' name", "given");
    const absl::StatusOr<std::vector<Variant>> variants = ParseVariants(axis);
    if (!variants.ok()) return variants.status();
    grid->axes.push_back(name);
    Multiply(*variants, &cells);
  }
  for (const std::vector<Variant>& variants : cells) {
    StudyCell cell;
    json run = object.value("run", json::object());
    for (const Variant& variant : variants) {
      cell.variants.push_back(variant.name);
      run.merge_patch(variant.patch);
    }
    absl::StatusOr<RunConfig> parsed = ParseRunConfig(run, data_folder);
    if (!parsed.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("cell ", absl::StrJoin(cell.variants, ", "),
                                                     ": ", parsed.status().message()));
    }
    cell.run = *std::move(parsed);
    // Documents may be made as long as a sequence.
    cell.corpus = absl::StrCat(run["corpus"].dump(), cell.run.sequence_length);
    grid->cells.push_back(std::move(cell));
  }
  return absl::OkStatus();
}

absl::Status ParseText(const json& object, const std::string& data_folder, StudyGrid* grid) {
  StudyText text;
  absl::Status status = CheckKeys(object, {"name", "path", "window", "windows"});
  if (!status.ok()) return status;
  status.Update(GetField(object, "name", text.name));
  status.Update(GetField(object, "path", text.path));
  status.Update(GetField(object, "window", text.window));
  status.Update(GetField(object, "windows", text.windows));
  if (!status.ok()) return status;
  if (text.name.empty() || text.path.empty()) return Invalid("a text's name and path", "given");
  if (text.window < 2) return Invalid("window", "at least 2");
  if (text.windows < 0) return Invalid("windows", "at least 0");
  if (text.path[0] != '/') text.path = absl::StrCat(data_folder, "/", text.path);
  grid->texts.push_back(text);
  return absl::OkStatus();
}

absl::Status ParseEvaluation(const json& object, const std::string& data_folder, StudyGrid* grid) {
  absl::Status status = CheckKeys(object, {"texts", "selected_blocks", "windows_at_once"});
  if (status.ok()) status = GetField(object, "windows_at_once", grid->windows_at_once);
  if (!status.ok()) return status;
  if (grid->windows_at_once < 1) return Invalid("windows_at_once", "at least 1");
  const json texts = object.value("texts", json()),
             budgets = object.value("selected_blocks", json());
  if (!texts.is_array() || texts.empty()) return Invalid("texts", "a list, not empty");
  if (!budgets.is_array() || budgets.empty())
    return Invalid("selected_blocks", "a list, not empty");
  for (const json& text : texts) {
    status = ParseText(text, data_folder, grid);
    if (!status.ok()) return status;
  }
  for (const json& blocks : budgets) {
    if (!blocks.is_number_integer() || blocks < 0 || blocks > 1024) {
      return Invalid("selected_blocks", "numbers from 0 to 1024");
    }
    grid->selected_blocks.push_back(blocks.get<int64_t>());
  }
  grid->evaluation = object.dump();
  return absl::OkStatus();
}

absl::StatusOr<StudyGrid> Parse(const json& object, const std::string& data_folder) {
  StudyGrid grid;
  absl::Status status = CheckKeys(object, {"base", "title", "about", "run", "axes", "evaluation"});
  if (!status.ok()) return status;
  status.Update(GetField(object, "title", grid.title));
  status.Update(GetField(object, "about", grid.about));
  if (status.ok()) status = ParseCells(object, data_folder, &grid);
  if (status.ok()) {
    status = ParseEvaluation(object.value("evaluation", json::object()), data_folder, &grid);
  }
  if (!status.ok()) return status;
  return grid;
}

// The file's object over that of its base.
absl::StatusOr<json> ReadWithBase(const std::filesystem::path& path) {
  absl::StatusOr<json> object = ReadJsonObject(path);
  if (!object.ok()) return object.status();
  std::string base;
  const absl::Status status = GetField(*object, "base", base);
  if (!status.ok() || base.empty()) return status.ok() ? object : status;
  absl::StatusOr<json> whole = ReadJsonObject(path.parent_path() / base);
  if (whole.ok()) whole->merge_patch(*object);
  return whole;
}

}  // namespace

absl::StatusOr<StudyGrid> ReadStudyGrid(const std::string& path, const std::string& data_folder) {
  const absl::StatusOr<json> object = ReadWithBase(path);
  if (!object.ok()) return object.status();
  absl::StatusOr<StudyGrid> grid = Parse(*object, data_folder);
  if (!grid.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", grid.status().message()));
  }
  grid->name = std::filesystem::path(path).stem();
  if (grid->title.empty()) grid->title = grid->name;
  return grid;
}

}  // namespace sieve
