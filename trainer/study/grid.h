#ifndef SIEVE_TRAINER_STUDY_GRID_H_
#define SIEVE_TRAINER_STUDY_GRID_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/run_config.h"

namespace sieve {

// A text on which a study measures every cell: its first `windows` windows (0: all) of `window`
// tokens.
struct StudyText {
  std::string name;
  std::string path;
  int64_t window = 4096;
  int64_t windows = 16;
};

// One training run of a study: a choice of one variant on each axis.
struct StudyCell {
  std::vector<std::string> variants;
  RunConfig run;
  std::string corpus;  // of the configuration: cells with the same one have the same tokens
};

// A study: which runs are compared, and how.
struct StudyGrid {
  std::string name;  // of its files; the stem of the grid's own
  std::string title, about;
  std::vector<std::string> axes;
  std::vector<StudyCell> cells;  // all combinations; the others are compared with the first
  std::vector<StudyText> texts;
  std::vector<int64_t> selected_blocks;  // budgets at which every cell is measured
  int64_t windows_at_once = 1;
  std::string evaluation;  // what of the file a cell's measurement depends on
};

// A JSON file as trainer/studies/combiner.json: `run`, a run's configuration; `axes`, each a name
// and variants, which are a name and `run`, a merge patch (RFC 7386) over the configuration;
// `evaluation`. With `base`, a file in the same folder, the grid is a merge patch over that one.
// Paths of texts are taken in `data_folder`. INVALID_ARGUMENT, naming file, cell and key, for what
// is malformed, unknown or out of range; NOT_FOUND without a file.
absl::StatusOr<StudyGrid> ReadStudyGrid(const std::string& path, const std::string& data_folder);

}  // namespace sieve

#endif  // SIEVE_TRAINER_STUDY_GRID_H_
