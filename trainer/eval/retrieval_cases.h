#ifndef SIEVE_TRAINER_EVAL_RETRIEVAL_CASES_H_
#define SIEVE_TRAINER_EVAL_RETRIEVAL_CASES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/tokenizer/tokenizer.h"

namespace sieve {

// A prompt whose continuation begins with a number that stands in it.
struct RetrievalCase {
  std::string group;  // what is counted together: "passkey 4096"
  std::vector<int32_t> prompt;
  std::string expected;  // digits
  double depth = 0;      // where in the prompt the number stands, 0 to 1
};

struct PasskeyOptions {
  std::vector<int64_t> lengths;  // tokens of a prompt
  int64_t cases = 20;            // of each length, their depths evenly spread
  uint64_t seed = 1;             // of keys and of places in the filler
};

// Five digits in a sentence within filler, a piece of a book cut anywhere, and a question for them
// at the end. A prompt has exactly its length. INVALID_ARGUMENT when a length leaves no room for
// filler or the book is shorter.
absl::StatusOr<std::vector<RetrievalCase>> PasskeyCases(const Tokenizer& tokenizer,
                                                        absl::Span<const int32_t> book,
                                                        const PasskeyOptions& options);

// The first `limit` (0: all) prompts of a file of LongEval's lines task (Li et al., 2023): JSON
// lines with "prompt", "expected_number", "random_idx" [key, line] and "num_lines". The beginning
// of the answer is put after each, so that a model need not guess its form. INVALID_ARGUMENT for
// another format, and the errors of ReadJsonLines.
absl::StatusOr<std::vector<RetrievalCase>> LineCases(const Tokenizer& tokenizer,
                                                     const std::string& path, int64_t limit);

// Whether the first number in a continuation is the expected one.
bool Recalls(const std::string& continuation, const std::string& expected);

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_RETRIEVAL_CASES_H_
