#include "trainer/eval/retrieval.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "trainer/eval/outcomes.h"
#include "trainer/eval/side_by_side.h"

namespace sieve {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kQuarters = 4;

// By variant, dense first, and case.
using Outcomes = std::vector<std::vector<double>>;

std::vector<double> Pick(absl::Span<const double> values, absl::Span<const size_t> chosen) {
  std::vector<double> out;
  for (const size_t i : chosen) out.push_back(values[i]);
  return out;
}

ordered_json QuartersJson(absl::Span<const RetrievalCase> cases, absl::Span<const double> outcomes,
                          absl::Span<const size_t> chosen) {
  std::vector<std::vector<size_t>> quarters(kQuarters);
  for (const size_t i : chosen) {
    const int64_t quarter = static_cast<int64_t>(cases[i].depth * kQuarters);
    quarters[std::clamp<int64_t>(quarter, 0, kQuarters - 1)].push_back(i);
  }
  ordered_json out = ordered_json::array();
  for (const auto& quarter : quarters) out.push_back(OutcomesJson(Pick(outcomes, quarter)));
  return out;
}

ordered_json GroupJson(absl::Span<const RetrievalCase> cases, absl::Span<const Variant> variants,
                       const Outcomes& outcomes, absl::Span<const size_t> chosen, uint64_t seed) {
  const std::vector<double> dense = Pick(outcomes[0], chosen);
  ordered_json rows = ordered_json::array();
  for (size_t v = 0; v < outcomes.size(); ++v) {
    ordered_json row = v == 0 ? DenseJson() : VariantJson(variants[v - 1]);
    row.update(v == 0 ? OutcomesJson(dense)
                      : PairedOutcomesJson(dense, Pick(outcomes[v], chosen), seed));
    row["quarters"] = QuartersJson(cases, outcomes[v], chosen);
    rows.push_back(row);
  }
  return rows;
}

// In the order in which they first come.
std::vector<std::string> Groups(absl::Span<const RetrievalCase> cases) {
  std::vector<std::string> groups;
  for (const RetrievalCase& one : cases) {
    if (std::find(groups.begin(), groups.end(), one.group) == groups.end()) {
      groups.push_back(one.group);
    }
  }
  return groups;
}

ordered_json CasesJson(absl::Span<const RetrievalCase> cases,
                       absl::Span<const std::vector<Generated>> generated) {
  ordered_json out = ordered_json::array();
  for (size_t i = 0; i < cases.size(); ++i) {
    ordered_json one = {{"group", cases[i].group},
                        {"tokens", cases[i].prompt.size()},
                        {"depth", cases[i].depth},
                        {"expected", cases[i].expected}};
    for (const auto& answers : generated) one["answers"].push_back(answers[i].text);
    out.push_back(one);
  }
  return out;
}

}  // namespace

absl::StatusOr<ordered_json> EvaluateRetrieval(Transformer* model, const Tokenizer& tokenizer,
                                               absl::Span<const Variant> variants,
                                               absl::Span<const RetrievalCase> cases,
                                               const RetrievalTaskOptions& options) {
  const int64_t longest = model->config().context_length - options.greedy.max_tokens;
  std::vector<RetrievalCase> fitting;
  for (const RetrievalCase& one : cases) {
    if (static_cast<int64_t>(one.prompt.size()) <= longest) fitting.push_back(one);
  }
  std::vector<std::vector<int32_t>> prompts;
  for (const RetrievalCase& one : fitting) prompts.push_back(one.prompt);
  const auto generated = GenerateSideBySide(model, tokenizer, prompts,
                                            static_cast<int64_t>(variants.size()), options.greedy);
  if (!generated.ok()) return generated.status();
  Outcomes outcomes(generated->size());
  for (size_t v = 0; v < generated->size(); ++v) {
    for (size_t i = 0; i < fitting.size(); ++i) {
      outcomes[v].push_back(Recalls((*generated)[v][i].text, fitting[i].expected) ? 1 : 0);
    }
  }
  ordered_json out;
  out["groups"] = ordered_json::array();
  for (const std::string& group : Groups(cases)) {
    std::vector<size_t> chosen;
    for (size_t i = 0; i < fitting.size(); ++i) {
      if (fitting[i].group == group) chosen.push_back(i);
    }
    const auto all = std::count_if(cases.begin(), cases.end(),
                                   [&](const RetrievalCase& one) { return one.group == group; });
    out["groups"].push_back(
        {{"group", group},
         {"cases", chosen.size()},
         {"too_long", all - static_cast<int64_t>(chosen.size())},
         {"rows", GroupJson(fitting, variants, outcomes, chosen, options.seed)}});
  }
  out["cases"] = CasesJson(fitting, *generated);
  return out;
}

}  // namespace sieve
