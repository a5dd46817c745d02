#include "trainer/report/markup.h"

#include <cctype>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace sieve {
namespace {

// Whether a cell stands to the right: a number, or a number with something after it.
bool IsNumber(std::string_view text) {
  const size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  return text.size() > sign && std::isdigit(static_cast<unsigned char>(text[sign]));
}

// A column is of numbers when its first cell is.
bool IsNumbers(const TableRows& rows, size_t column) {
  return rows.size() > 1 && column < rows[1].size() && IsNumber(rows[1][column]);
}

// The cells of a line "| a | b |".
std::vector<std::string> CellsOf(absl::string_view line) {
  absl::ConsumePrefix(&line, "|");
  absl::ConsumeSuffix(&line, "|");
  std::vector<std::string> cells;
  for (const absl::string_view cell : absl::StrSplit(line, '|')) {
    cells.emplace_back(absl::StripAsciiWhitespace(cell));
  }
  return cells;
}

// A line "|---|--:|".
bool IsRule(absl::string_view line) {
  return line.find_first_not_of("|-: ") == absl::string_view::npos;
}

}  // namespace

std::string EscapeMarkup(std::string_view text) {
  return absl::StrReplaceAll(absl::string_view(text.data(), text.size()),
                             {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

std::string HtmlTable(const TableRows& rows) {
  std::string out = "<table>\n";
  for (size_t r = 0; r < rows.size(); ++r) {
    const char* tag = r == 0 ? "th" : "td";
    absl::StrAppend(&out, "<tr>");
    for (size_t c = 0; c < rows[r].size(); ++c) {
      absl::StrAppend(&out, "<", tag, IsNumbers(rows, c) ? " class=\"number\">" : ">",
                      EscapeMarkup(rows[r][c]), "</", tag, ">");
    }
    absl::StrAppend(&out, "</tr>\n");
  }
  return out + "</table>\n";
}

std::string MarkdownTable(const TableRows& rows) {
  std::string out;
  for (size_t r = 0; r < rows.size(); ++r) {
    std::vector<std::string> cells;
    for (const std::string& cell : rows[r]) {
      cells.push_back(absl::StrReplaceAll(cell, {{"|", "\\|"}, {"\n", " "}}));
    }
    absl::StrAppend(&out, "| ", absl::StrJoin(cells, " | "), " |\n");
    if (r > 0) continue;
    absl::StrAppend(&out, "|");
    for (size_t c = 0; c < rows[0].size(); ++c) {
      absl::StrAppend(&out, IsNumbers(rows, c) ? "--:|" : "---|");
    }
    absl::StrAppend(&out, "\n");
  }
  return out;
}

std::string HtmlOfMarkdown(std::string_view text) {
  std::string out;
  TableRows rows;
  const std::vector<absl::string_view> lines =
      absl::StrSplit(absl::string_view(text.data(), text.size()), '\n');
  for (absl::string_view line : lines) {
    if (absl::StartsWith(line, "|")) {
      if (!IsRule(line)) rows.push_back(CellsOf(line));
      continue;
    }
    if (!rows.empty()) absl::StrAppend(&out, HtmlTable(std::exchange(rows, {})));
    if (line.empty()) continue;
    const bool heading = absl::ConsumePrefix(&line, "#");
    while (absl::ConsumePrefix(&line, "#")) continue;
    const std::string shown = EscapeMarkup(std::string(absl::StripAsciiWhitespace(line)));
    absl::StrAppend(&out, heading ? "<h4>" : "<p>", shown, heading ? "</h4>\n" : "</p>\n");
  }
  if (!rows.empty()) absl::StrAppend(&out, HtmlTable(rows));
  return out;
}

}  // namespace sieve
