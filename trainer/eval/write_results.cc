#include "trainer/eval/write_results.h"

#include "trainer/eval/table.h"
#include "trainer/report/write_file.h"

namespace sieve {

absl::Status PrepareResults(const ResultFiles& files) {
  absl::Status status;
  for (const std::string& path : {files.json, files.table}) {
    if (!path.empty()) status.Update(PrepareFile(path));
  }
  return status;
}

absl::Status WriteResults(const nlohmann::ordered_json& results, const ResultFiles& files,
                          std::ostream& out) {
  // A text that was cut within a character is no UTF-8.
  const std::string text =
      results.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  absl::Status json, table;
  if (!files.json.empty()) json = WriteFile(files.json, text);
  if (files.json.empty() || !json.ok()) out << text;
  const std::string tables = MarkdownTables(results);
  if (!files.table.empty()) table = WriteFile(files.table, tables);
  if (files.table.empty() ? !files.json.empty() : !table.ok()) out << tables;
  json.Update(table);
  return json;
}

}  // namespace sieve
