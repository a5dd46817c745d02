#ifndef SIEVE_TRAINER_REPORT_MARKUP_H_
#define SIEVE_TRAINER_REPORT_MARKUP_H_

#include <string>
#include <string_view>
#include <vector>

namespace sieve {

// Text as HTML and SVG take it, also between quotation marks.
std::string EscapeMarkup(std::string_view text);

// A table of which the first row is the head; numbers are aligned to the right.
using TableRows = std::vector<std::vector<std::string>>;
std::string HtmlTable(const TableRows& rows);
std::string MarkdownTable(const TableRows& rows);

// Of Markdown's paragraphs, headings and tables; nothing else of it.
std::string HtmlOfMarkdown(std::string_view text);

}  // namespace sieve

#endif  // SIEVE_TRAINER_REPORT_MARKUP_H_
