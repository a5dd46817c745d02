#ifndef SIEVE_TRAINER_STUDY_WRITE_STUDY_H_
#define SIEVE_TRAINER_STUDY_WRITE_STUDY_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "trainer/study/grid.h"

namespace sieve {

// Writes into the folder `out`, of the study NAME: NAME.jsonl, a line a result; NAME.md, tables;
// NAME.svg, what the cells reach, and NAME_training.svg, how they got there. `results` are those
// of the grid's first cells. The errors of WriteFile.
absl::Status WriteStudy(const StudyGrid& grid, const std::vector<nlohmann::json>& results,
                        const std::string& out);

}  // namespace sieve

#endif  // SIEVE_TRAINER_STUDY_WRITE_STUDY_H_
