#ifndef SIEVE_TRAINER_STUDY_STUDY_H_
#define SIEVE_TRAINER_STUDY_STUDY_H_

#include <atomic>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/tokenizer/tokenizer.h"
#include "trainer/llama.h"
#include "trainer/study/grid.h"

namespace sieve {

struct StudyJob {
  const FrozenLlama* llama = nullptr;
  const Tokenizer* tokenizer = nullptr;
  std::string base_digest;
  std::vector<StudyGrid> grids;
  // Gets cells/, a folder for each cell under the digest of all that its result depends on, and the
  // files of WriteStudy, which are written again after each cell.
  std::string out;
  std::string cache;                        // folder of tokenised texts
  std::ostream* progress = nullptr;         // lines for people
  const std::atomic<bool>* stop = nullptr;  // set: save and return
};

// Trains and measures every cell of the grids in order. A cell that is finished is taken as it is,
// also where two grids share it; one that is not goes on from its state. A training run that
// diverges is a result too, which says so.
//
// CANCELLED when it was stopped. INVALID_ARGUMENT, before the first cell runs, for a cell whose
// adapter does not fit the model, or a text of less than one window. Other errors are those of the
// files.
absl::Status RunStudies(const StudyJob& job);

}  // namespace sieve

#endif  // SIEVE_TRAINER_STUDY_STUDY_H_
