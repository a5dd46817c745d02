#ifndef SIEVE_TRAINER_STUDY_STUDY_FIGURES_H_
#define SIEVE_TRAINER_STUDY_STUDY_FIGURES_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "trainer/study/grid.h"

namespace sieve {

// SVG: by text, the ratio of perplexities and KL at each budget, a line a cell. `results` are those
// of the grid's first cells.
std::string StudyFigure(const StudyGrid& grid, const std::vector<nlohmann::json>& results);

// SVG: the losses over training and, where they were tracked, the branches' weights, a line a cell.
std::string StudyTrainingFigure(const StudyGrid& grid, const std::vector<nlohmann::json>& results);

}  // namespace sieve

#endif  // SIEVE_TRAINER_STUDY_STUDY_FIGURES_H_
