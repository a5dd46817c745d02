#ifndef SIEVE_TRAINER_REPORT_BRANCH_WEIGHTS_H_
#define SIEVE_TRAINER_REPORT_BRANCH_WEIGHTS_H_

#include <vector>

namespace sieve {

// What share of a layer's output comes from which branch, the mean over the heads and those tokens
// of a sequence that have blocks to choose from. The three are 1 together.
struct BranchShares {
  double base = 0;
  double selected = 0;
  double compressed = 0;
};

// By layer; NaN in dense layers.
using BranchWeights = std::vector<BranchShares>;

}  // namespace sieve

#endif  // SIEVE_TRAINER_REPORT_BRANCH_WEIGHTS_H_
