#ifndef SIEVE_TRAINER_REPORT_RUN_FIGURES_H_
#define SIEVE_TRAINER_REPORT_RUN_FIGURES_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace sieve {

// Pictures of a run (SVG), of the lines of ReadRunLog; empty where these tell nothing.

// By stage each term of the loss, a line for each number of selected blocks that steps drew.
std::string LossFigure(const nlohmann::json& log);
// Norm of the gradient, learning rates, speed.
std::string ProgressFigure(const nlohmann::json& log);
// The branches' weights by layer over training, and the last ones by layer.
std::string BranchFigure(const nlohmann::json& log);

// Of probe.json, for some layers and each key/value head (at most `max_heads`): which key blocks
// the queries of a block choose. Empty for a malformed one, or without layers.
std::string SelectionFigure(const nlohmann::json& probe, const std::vector<int64_t>& layers,
                            int64_t max_heads);

}  // namespace sieve

#endif  // SIEVE_TRAINER_REPORT_RUN_FIGURES_H_
