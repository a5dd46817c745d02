#include "trainer/study/write_study.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "trainer/report/write_file.h"
#include "trainer/study/study_figures.h"
#include "trainer/study/study_tables.h"

namespace sieve {

absl::Status WriteStudy(const StudyGrid& grid, const std::vector<nlohmann::json>& results,
                        const std::string& out) {
  std::string lines;
  for (const nlohmann::json& result : results) absl::StrAppend(&lines, result.dump(), "\n");
  const std::pair<const char*, std::string> files[] = {
      {".jsonl", lines},
      {".md", StudyTables(grid, results)},
      {".svg", StudyFigure(grid, results)},
      {"_training.svg", StudyTrainingFigure(grid, results)}};
  for (const auto& [suffix, text] : files) {
    const absl::Status status = WriteFile(absl::StrCat(out, "/", grid.name, suffix), text);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace sieve
