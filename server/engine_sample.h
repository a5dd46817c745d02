#ifndef SIEVE_SERVER_ENGINE_SAMPLE_H_
#define SIEVE_SERVER_ENGINE_SAMPLE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "model/sampling/sampler.h"
#include "model/step_runner.h"
#include "model/tokenizer/tokenizer.h"
#include "server/generation.h"
#include "server/text_stream.h"

namespace sieve {

// One sample of a request while it is generated: what is to be drawn next, and from the token that
// was drawn to its text, and whether it was the last. Holds no cache and knows no step.
class EngineSample {
 public:
  // `request` and `tokenizer` must outlive the sample.
  EngineSample(const GenerationRequest* request, const Tokenizer* tokenizer, int32_t sample,
               absl::Span<const int32_t> prompt);

  struct Output {
    DeltaEvent delta;
    std::optional<FinishReason> reason;  // of ending with this token
    std::string stop_text;
  };
  // How to draw the next token; it may be asked before the tokens of earlier draws were taken,
  // unless there are penalties. Points into this object and the request.
  Draw NextDraw() const;
  // That draw is on its way.
  void OnSubmitted() { ++submitted_; }
  // Whether there may be a token after those on their way.
  bool MayGoOn() const;

  // Takes the token of the oldest draw that is on its way.
  Output Take(DrawnToken drawn, absl::Time now);

  bool finished() const { return finished_; }
  int32_t generated() const { return generated_; }
  // When tokens were drawn. REQUIRES: generated() > 0.
  absl::Time first_token() const { return first_token_; }
  absl::Time last_token() const { return last_token_; }

 private:
  void Judge(int32_t token, Output* output);
  bool IsEndOfSequence(int32_t token) const;
  bool IsStopToken(int32_t token) const;
  std::optional<FinishReason> LimitReached() const;

  const GenerationRequest* const request_;
  const Tokenizer* const tokenizer_;
  const int32_t sample_;
  TextStream text_;
  std::optional<TokenHistory> history_;  // when penalties want it
  std::vector<int32_t> banned_;          // until min_tokens
  int32_t submitted_ = 0, generated_ = 0;
  bool finished_ = false;
  absl::Time first_token_, last_token_;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_ENGINE_SAMPLE_H_
