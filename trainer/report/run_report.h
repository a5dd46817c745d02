#ifndef SIEVE_TRAINER_REPORT_RUN_REPORT_H_
#define SIEVE_TRAINER_REPORT_RUN_REPORT_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace sieve {

// Writes RUN/report.html, a page of a training run that needs no other file: losses, branches,
// choices, parameters, and the tables of the evaluations (RUN/eval/*.json, as `sieve_trainer eval
// --json` writes them). Parts of which the run has no data are left out. `base_parameters` is 0
// where the model is not at hand. NOT_FOUND without an adapter in the run; INVALID_ARGUMENT, naming
// it, for a file that is no JSON; the errors of WriteFile.
absl::Status WriteRunReport(const std::string& run, int64_t base_parameters);

}  // namespace sieve

#endif  // SIEVE_TRAINER_REPORT_RUN_REPORT_H_
