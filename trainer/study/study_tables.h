#ifndef SIEVE_TRAINER_STUDY_STUDY_TABLES_H_
#define SIEVE_TRAINER_STUDY_STUDY_TABLES_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "trainer/study/grid.h"

namespace sieve {

// Markdown: what each cell costs, and by text and budget what it reaches, with 95 % intervals and
// the difference from the first cell, paired by window. `results` are those of the grid's first
// cells.
std::string StudyTables(const StudyGrid& grid, const std::vector<nlohmann::json>& results);

}  // namespace sieve

#endif  // SIEVE_TRAINER_STUDY_STUDY_TABLES_H_
