#ifndef SIEVE_TRAINER_REPORT_RUN_LOG_H_
#define SIEVE_TRAINER_REPORT_RUN_LOG_H_

#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "trainer/report/branch_weights.h"
#include "trainer/report/event_file.h"

namespace sieve {

// One step of training, done.
struct StepReport {
  int64_t stage = 0;        // from 1
  int64_t step = 0;         // of the stage, from 1
  int64_t steps = 0;        // that the stage has
  int64_t step_of_run = 0;  // over all stages, from 1
  double loss = 0;
  Scalars terms;                            // of the loss
  double mean_loss = 0;                     // running
  double gradient_norm = 0;                 // before clipping
  double vector_rate = 0, matrix_rate = 0;  // learning rates of this step
  int64_t selected_blocks = 0;
  double tokens_per_second = 0;
  double seconds = 0;                          // that it took
  absl::Duration left = absl::ZeroDuration();  // of the stage, as far as can be said
  std::optional<BranchWeights> branches = {};  // where they were measured after it
};

// Tells of a run: FOLDER/log.jsonl, a line a step; FOLDER/tensorboard, the same as scalars; and a
// line for people a few times a minute.
class RunLog {
 public:
  // Adds to what is in the folder. `progress` may be null. UNAVAILABLE when a file cannot be
  // written, here and below.
  static absl::StatusOr<RunLog> Open(const std::string& folder, std::ostream* progress);

  absl::Status Add(const StepReport& report);

 private:
  RunLog(std::string path, EventFile events, std::ostream* progress);

  void Show(const StepReport& report);

  std::string path_;
  std::ofstream lines_;
  EventFile events_;
  std::ostream* progress_;
  absl::Time shown_ = absl::InfinitePast();
};

// The lines of a folder's log.jsonl, in the order of stages and steps. Of a step that was done
// again, for its state was lost, the last. Lines that are no JSON, such as one that a crash cut,
// are left out; none without a file.
nlohmann::json ReadRunLog(const std::string& folder);

}  // namespace sieve

#endif  // SIEVE_TRAINER_REPORT_RUN_LOG_H_
