#include "trainer/eval/gsm8k.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "trainer/eval/json_lines.h"
#include "trainer/eval/outcomes.h"
#include "trainer/eval/side_by_side.h"

namespace sieve {
namespace {

using nlohmann::ordered_json;

constexpr char kMark[] = "####";

// The number that begins at text[begin], digits with commas between and a fraction; moves `begin`
// behind it. A minus counts when no digit is before it.
double NumberAt(const std::string& text, size_t* begin) {
  std::string digits;
  if (*begin > 0 && text[*begin - 1] == '-' &&
      (*begin < 2 || !absl::ascii_isdigit(text[*begin - 2]))) {
    digits = "-";
  }
  const auto digit_at = [&](size_t i) { return i < text.size() && absl::ascii_isdigit(text[i]); };
  bool fraction = false;
  size_t i = *begin;
  for (; i < text.size(); ++i) {
    if (digit_at(i)) {
      digits += text[i];
    } else if (text[i] == '.' && !fraction && digit_at(i + 1)) {
      digits += text[i];
      fraction = true;
    } else if (text[i] != ',' || fraction || !digit_at(i + 1)) {
      break;
    }
  }
  *begin = i;
  double value = 0;
  return absl::SimpleAtod(digits, &value) ? value : 0;
}

// The first or last number of text[from, to).
std::optional<double> FindNumber(const std::string& text, bool last) {
  std::optional<double> found;
  for (size_t i = 0; i < text.size() && (last || !found);) {
    if (absl::ascii_isdigit(text[i])) {
      found = NumberAt(text, &i);
    } else {
      ++i;
    }
  }
  return found;
}

ordered_json NumberJson(const std::optional<double>& number) {
  return number ? ordered_json(*number) : ordered_json(nullptr);
}

ordered_json AnswersJson(absl::Span<const Gsm8kProblem> problems,
                         absl::Span<const std::vector<Generated>> generated) {
  ordered_json out = ordered_json::array();
  for (size_t i = 0; i < problems.size(); ++i) {
    ordered_json one = {{"expected", NumberJson(AnswerOf(problems[i].answer))}};
    for (const auto& texts : generated) {
      one["found"].push_back(NumberJson(AnswerOf(texts[i].text)));
      one["texts"].push_back(texts[i].text);
    }
    out.push_back(one);
  }
  return out;
}

}  // namespace

absl::StatusOr<std::vector<Gsm8kProblem>> ReadGsm8k(const std::string& path, int64_t limit) {
  const auto objects = ReadJsonLines(path, limit);
  if (!objects.ok()) return objects.status();
  std::vector<Gsm8kProblem> problems;
  for (const nlohmann::json& object : *objects) {
    absl::StatusOr<std::string> question = TextField(object, "question", path);
    if (!question.ok()) return question.status();
    absl::StatusOr<std::string> answer = TextField(object, "answer", path);
    if (!answer.ok()) return answer.status();
    if (!AnswerOf(*answer)) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": answer ", problems.size() + 1, " has no number"));
    }
    problems.push_back({*std::move(question), *std::move(answer)});
  }
  return problems;
}

std::string Gsm8kPrompt(absl::Span<const Gsm8kProblem> shots, const std::string& question) {
  std::string prompt;
  for (const Gsm8kProblem& shot : shots) {
    absl::StrAppend(&prompt, "Question: ", shot.question, "\nAnswer: ", shot.answer, "\n\n");
  }
  absl::StrAppend(&prompt, "Question: ", question, "\nAnswer:");
  return prompt;
}

std::optional<double> AnswerOf(const std::string& text) {
  const size_t mark = text.find(kMark);
  if (mark != std::string::npos) {
    const auto marked = FindNumber(text.substr(mark), /*last=*/false);
    if (marked) return marked;
  }
  return FindNumber(text, /*last=*/true);
}

absl::StatusOr<ordered_json> EvaluateGsm8k(Transformer* model, const Tokenizer& tokenizer,
                                           absl::Span<const Variant> variants,
                                           absl::Span<const Gsm8kProblem> shots,
                                           absl::Span<const Gsm8kProblem> problems,
                                           const Gsm8kOptions& options) {
  std::vector<std::vector<int32_t>> prompts;
  for (const Gsm8kProblem& problem : problems) {
    prompts.push_back(tokenizer.Encode(Gsm8kPrompt(shots, problem.question), {}));
  }
  const auto generated = GenerateSideBySide(model, tokenizer, prompts,
                                            static_cast<int64_t>(variants.size()), options.greedy);
  if (!generated.ok()) return generated.status();
  std::vector<std::vector<double>> right(generated->size());
  for (size_t v = 0; v < generated->size(); ++v) {
    for (size_t i = 0; i < problems.size(); ++i) {
      const bool is = AnswerOf((*generated)[v][i].text) == AnswerOf(problems[i].answer);
      right[v].push_back(is ? 1 : 0);
    }
  }
  ordered_json out = {{"problems", problems.size()}, {"shots", shots.size()}};
  out["rows"] = ordered_json::array();
  for (size_t v = 0; v < right.size(); ++v) {
    ordered_json row = v == 0 ? DenseJson() : VariantJson(variants[v - 1]);
    row.update(v == 0 ? OutcomesJson(right[0])
                      : PairedOutcomesJson(right[0], right[v], options.seed));
    out["rows"].push_back(row);
  }
  out["answers"] = AnswersJson(problems, *generated);
  return out;
}

}  // namespace sieve
