#ifndef SIEVE_TRAINER_EVAL_GSM8K_H_
#define SIEVE_TRAINER_EVAL_GSM8K_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "trainer/eval/generate.h"
#include "trainer/eval/variant.h"

namespace sieve {

// A question and its worked answer, which ends with "#### NUMBER" (Cobbe et al., 2021).
struct Gsm8kProblem {
  std::string question;
  std::string answer;
};

// The first `limit` (0: all) problems of a file of JSON lines with "question" and "answer".
// INVALID_ARGUMENT for an answer without a number, and the errors of ReadJsonLines.
absl::StatusOr<std::vector<Gsm8kProblem>> ReadGsm8k(const std::string& path, int64_t limit);

// "Question: …\nAnswer: …" of each shot and then of the problem, whose answer is left to the model,
// as lm-evaluation-harness has it.
std::string Gsm8kPrompt(absl::Span<const Gsm8kProblem> shots, const std::string& question);

// The number after the first "####", or else the last number in the text; commas are left out.
std::optional<double> AnswerOf(const std::string& text);

struct Gsm8kOptions {
  uint64_t seed = 1;  // of the intervals
  GreedyOptions greedy;
};

// What ends an answer.
inline constexpr char kGsm8kStop[] = "Question:";

// Share of right answers with dense attention and each variant: {"problems", "shots", "rows":
// [...], "answers": [...]}, rows dense first and each variant paired with it (PairedOutcomesJson).
// `model` has variant v in slot v. The errors of GenerateGreedy.
absl::StatusOr<nlohmann::ordered_json> EvaluateGsm8k(Transformer* model, const Tokenizer& tokenizer,
                                                     absl::Span<const Variant> variants,
                                                     absl::Span<const Gsm8kProblem> shots,
                                                     absl::Span<const Gsm8kProblem> problems,
                                                     const Gsm8kOptions& options);

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_GSM8K_H_
