#ifndef SIEVE_MODEL_ATTENTION_BLOCK_SCORE_OF_H_
#define SIEVE_MODEL_ATTENTION_BLOCK_SCORE_OF_H_

#include "kernels/block_scores_params.h"
#include "model/adapter/adapter_config.h"

namespace sieve {

// The kernels' name of a selector. The oracle, which is not served, has none.
inline BlockScore BlockScoreOf(Selector selector) {
  switch (selector) {
    case Selector::kMax:
      return BlockScore::kMax;
    case Selector::kQuest:
      return BlockScore::kQuest;
    case Selector::kQuestMean:
      return BlockScore::kQuestMean;
    case Selector::kCompressed:
      return BlockScore::kCompressed;
    case Selector::kIndex:
      return BlockScore::kIndex;
    case Selector::kGate:
      return BlockScore::kGate;
    default:
      return BlockScore::kMean;
  }
}

}  // namespace sieve

#endif  // SIEVE_MODEL_ATTENTION_BLOCK_SCORE_OF_H_
