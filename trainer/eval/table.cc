#include "trainer/eval/table.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace sieve {
namespace {

using nlohmann::ordered_json;

// A column: the number at `key`, and its interval at `interval` where there is one.
struct Column {
  const char* title;
  std::string key;
  std::string interval{};
  int digits = 4;
};

std::string Number(const ordered_json& value, int digits) {
  if (value.is_number_integer()) return absl::StrCat(value.get<int64_t>());
  return absl::StrFormat("%.*f", digits, value.get<double>());
}

std::string Cell(const ordered_json& row, const Column& column) {
  const ordered_json value = row.value(column.key, ordered_json());
  // Names are the user's; a bar would begin another cell.
  if (value.is_string()) return absl::StrReplaceAll(value.get<std::string>(), {{"|", "\\|"}});
  if (!value.is_number()) return "";
  std::string text = Number(value, column.digits);
  const ordered_json interval = row.value(column.interval, ordered_json());
  if (!interval.is_array()) return text;
  return absl::StrCat(text, " [", Number(interval.at(0), column.digits), ", ",
                      Number(interval.at(1), column.digits), "]");
}

std::string Table(const std::string& title, const ordered_json& rows,
                  const std::vector<Column>& columns) {
  std::vector<std::string> titles, rules;
  for (const Column& column : columns) {
    titles.push_back(column.title);
    rules.push_back(titles.size() == 1 ? "---" : "--:");
  }
  std::string out = absl::StrCat(title, "\n\n| ", absl::StrJoin(titles, " | "), " |\n|",
                                 absl::StrJoin(rules, "|"), "|\n");
  for (const ordered_json& row : rows) {
    std::vector<std::string> cells;
    for (const Column& column : columns) cells.push_back(Cell(row, column));
    absl::StrAppend(&out, "| ", absl::StrJoin(cells, " | "), " |\n");
  }
  return out + "\n";
}

const std::vector<Column>& Losses() {
  static const auto* columns =
      new std::vector<Column>{{"dense perplexity", "dense_perplexity", "", 3},
                              {"ratio", "ratio", "ratio_interval"},
                              {"KL", "kl", "kl_interval"},
                              {"agreement", "agreement", "agreement_interval", 3}};
  return *columns;
}

std::vector<Column> Join(std::vector<Column> first, const std::vector<Column>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

std::string Losses(const std::string& title, const ordered_json& rows) {
  return Table(title, rows,
               Join({{"adapter", "adapter"},
                     {"selected blocks", "selected_blocks"},
                     {"density", "density", "", 3}},
                    Losses()));
}

// The rows' buckets as one table.
std::string Buckets(const std::string& title, const ordered_json& rows) {
  ordered_json flat = ordered_json::array();
  for (const ordered_json& row : rows) {
    for (ordered_json bucket : row.value("buckets", ordered_json::array())) {
      bucket["adapter"] = row.at("adapter");
      bucket["selected_blocks"] = row.at("selected_blocks");
      bucket["positions"] =
          absl::StrCat(bucket.at("from").get<int64_t>(), " – ", bucket.at("to").get<int64_t>() - 1);
      flat.push_back(bucket);
    }
  }
  if (flat.empty()) return "";
  return Table(absl::StrCat(title, ", by position"), flat,
               Join({{"adapter", "adapter"},
                     {"selected blocks", "selected_blocks"},
                     {"positions", "positions"}},
                    Losses()));
}

std::string Perplexity(const ordered_json& results) {
  std::string out;
  const auto add = [&](const std::string& title, const ordered_json& rows) {
    absl::StrAppend(&out, Losses(title, rows), Buckets(title, rows));
  };
  for (const ordered_json& text : results.at("texts")) {
    add(absl::StrFormat("%s: %d windows of %d, stride %d", text.at("text").get<std::string>(),
                        text.at("windows").get<int64_t>(), results.at("window").get<int64_t>(),
                        results.at("stride").get<int64_t>()),
        text.at("rows"));
  }
  if (results.contains("all")) add("All texts", results.at("all"));
  return out;
}

std::string Outcomes(const std::string& title, const ordered_json& rows) {
  return Table(title, rows,
               {{"adapter", "adapter"},
                {"selected blocks", "selected_blocks"},
                {"rate", "rate", "interval", 3},
                {"difference", "difference", "difference_interval", 3},
                {"only dense", "only_dense"},
                {"only sparse", "only_sparse"},
                {"McNemar's p", "mcnemar_p", "", 3},
                {"of what dense solves", "of_dense", "of_dense_interval", 3}});
}

std::string Retrieval(const ordered_json& results) {
  std::string out;
  for (const ordered_json& group : results.at("groups")) {
    absl::StrAppend(
        &out, Outcomes(absl::StrFormat(
                           "%s: %d prompts, %d too long", group.at("group").get<std::string>(),
                           group.at("cases").get<int64_t>(), group.at("too_long").get<int64_t>()),
                       group.at("rows")));
  }
  return out;
}

std::string Generation(const ordered_json& results) {
  const std::string title =
      absl::StrFormat("Texts of %d prompts", results.at("prompts").get<int64_t>());
  std::vector<Column> means = {{"adapter", "adapter"}, {"selected blocks", "selected_blocks"}};
  std::vector<Column> differences = means;
  const std::vector<std::pair<const char*, std::string>> measures = {
      {"tokens", "tokens"},         {"ended", "ended"},
      {"distinct-1", "distinct_1"}, {"distinct-2", "distinct_2"},
      {"distinct-3", "distinct_3"}, {"repeated 4-grams", "repeated_4"},
      {"self-BLEU", "self_bleu"}};
  for (const auto& [name, key] : measures) {
    means.push_back({name, key, "", 3});
    differences.push_back({name, key + "_difference", key + "_difference_interval", 3});
  }
  means.push_back({"tokens as dense", "as_dense", "", 1});
  ordered_json sparse = ordered_json::array();
  for (const ordered_json& row : results.at("rows")) {
    if (row.contains("as_dense")) sparse.push_back(row);
  }
  std::string out = Table(title, results.at("rows"), means);
  if (!sparse.empty()) {
    absl::StrAppend(&out,
                    Table(absl::StrCat(title, ", differences to dense"), sparse, differences));
  }
  return out;
}

}  // namespace

std::string MarkdownTables(const ordered_json& results) {
  const std::string task = results.value("task", "");
  if (task == "perplexity") return Perplexity(results);
  if (task == "retrieval") return Retrieval(results);
  if (task == "generation") return Generation(results);
  if (task == "gsm8k") {
    return Outcomes(
        absl::StrFormat("GSM8K: %d problems, %d shots", results.at("problems").get<int64_t>(),
                        results.at("shots").get<int64_t>()),
        results.at("rows"));
  }
  return "";
}

}  // namespace sieve
