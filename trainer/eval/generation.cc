#include "trainer/eval/generation.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "model/chat/chat_format.h"
#include "trainer/eval/interval_json.h"
#include "trainer/eval/json_lines.h"
#include "trainer/eval/side_by_side.h"
#include "trainer/eval/statistics.h"
#include "trainer/eval/text_statistics.h"

namespace sieve {
namespace {

using nlohmann::ordered_json;

// A number of each text.
struct Measure {
  const char* name;
  std::vector<double> values;
};

std::vector<Measure> MeasuresOf(absl::Span<const Generated> generated) {
  std::vector<Measure> measures = {{"tokens", {}},     {"ended", {}},      {"distinct_1", {}},
                                   {"distinct_2", {}}, {"distinct_3", {}}, {"repeated_4", {}}};
  std::vector<std::vector<int32_t>> texts;
  for (const Generated& one : generated) {
    texts.push_back(one.tokens);
    size_t m = 0;
    for (const double value : {static_cast<double>(one.tokens.size()), one.ended ? 1.0 : 0.0,
                               DistinctNgrams(one.tokens, 1), DistinctNgrams(one.tokens, 2),
                               DistinctNgrams(one.tokens, 3), RepeatedNgrams(one.tokens, 4)}) {
      measures[m++].values.push_back(value);
    }
  }
  measures.push_back({"self_bleu", SelfBleu(texts)});
  return measures;
}

ordered_json MeanPrefix(absl::Span<const Generated> dense, absl::Span<const Generated> sparse) {
  std::vector<double> tokens;
  for (size_t i = 0; i < dense.size(); ++i) {
    tokens.push_back(static_cast<double>(CommonPrefix(dense[i].tokens, sparse[i].tokens)));
  }
  return Mean(tokens);
}

ordered_json RowJson(absl::Span<const Measure> dense, absl::Span<const Measure> measures,
                     bool is_dense, uint64_t seed) {
  ordered_json row;
  for (size_t m = 0; m < measures.size(); ++m) {
    const auto& [name, values] = measures[m];
    row[name] = Mean(values);
    if (is_dense) continue;
    row[absl::StrCat(name, "_difference")] = Mean(values) - Mean(dense[m].values);
    row[absl::StrCat(name, "_difference_interval")] =
        ToJson(DifferenceInterval(dense[m].values, values, seed));
  }
  return row;
}

ordered_json TextsJson(absl::Span<const std::string> prompts,
                       absl::Span<const std::vector<Generated>> generated) {
  ordered_json out = ordered_json::array();
  for (size_t i = 0; i < prompts.size(); ++i) {
    ordered_json one = {{"prompt", prompts[i]}};
    for (const auto& texts : generated) one["texts"].push_back(texts[i].text);
    out.push_back(one);
  }
  return out;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ReadPrompts(const std::string& path, int64_t limit) {
  const auto objects = ReadJsonLines(path, limit);
  if (!objects.ok()) return objects.status();
  std::vector<std::string> prompts;
  for (const nlohmann::json& object : *objects) {
    const nlohmann::json turns = object.value("turns", nlohmann::json());
    if (turns.is_array() && !turns.empty() && turns[0].is_string()) {
      prompts.push_back(turns[0].get<std::string>());
      continue;
    }
    absl::StatusOr<std::string> prompt = TextField(object, "prompt", path);
    if (!prompt.ok()) return prompt.status();
    prompts.push_back(*std::move(prompt));
  }
  return prompts;
}

absl::StatusOr<ordered_json> EvaluateGeneration(Transformer* model, const Tokenizer& tokenizer,
                                                absl::Span<const Variant> variants,
                                                absl::Span<const std::string> prompts,
                                                const GenerationOptions& options) {
  const auto chat = ChatFormatFor(tokenizer);
  std::vector<std::vector<int32_t>> encoded;
  for (const std::string& prompt : prompts) {
    encoded.push_back(
        chat.ok() ? (*chat)->Encode(tokenizer, {{.role = ChatRole::kUser, .content = prompt}})
                  : tokenizer.Encode(prompt, {}));
  }
  const auto generated = GenerateSideBySide(model, tokenizer, encoded,
                                            static_cast<int64_t>(variants.size()), options.greedy);
  if (!generated.ok()) return generated.status();
  ordered_json out = {{"prompts", prompts.size()}, {"chat_format", nullptr}};
  if (chat.ok()) out["chat_format"] = std::string((*chat)->name());
  out["rows"] = ordered_json::array();
  const std::vector<Measure> dense = MeasuresOf((*generated)[0]);
  for (size_t v = 0; v < generated->size(); ++v) {
    ordered_json row = v == 0 ? DenseJson() : VariantJson(variants[v - 1]);
    row.update(RowJson(dense, MeasuresOf((*generated)[v]), v == 0, options.seed));
    if (v > 0) row["as_dense"] = MeanPrefix((*generated)[0], (*generated)[v]);
    out["rows"].push_back(row);
  }
  out["texts"] = TextsJson(prompts, *generated);
  return out;
}

}  // namespace sieve
