#ifndef SIEVE_MODEL_CHECKPOINT_MODEL_ROOT_H_
#define SIEVE_MODEL_CHECKPOINT_MODEL_ROOT_H_

#include <string>

#include "absl/status/status.h"

namespace sieve {

// Whether `checkpoint`, as OpenCheckpoint takes it, and every file that belongs to it lie in the
// folder `root`, with all symbolic links followed. Files count that stand in the checkpoint's
// folder or in a folder of that; OpenCheckpoint looks no deeper. NOT_FOUND when either path leads
// to nothing, PERMISSION_DENIED, naming the file and where it leads, when it leaves the root.
// Nobody else may change the folder between this check and the opening.
absl::Status CheckInsideModelRoot(const std::string& root, const std::string& checkpoint);

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_MODEL_ROOT_H_
