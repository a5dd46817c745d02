#include "trainer/report/markup.h"

#include <gtest/gtest.h>

namespace sieve {
namespace {

TEST(Markup, EscapesWhatTagsAndAttributesAreMadeOf) {
  EXPECT_EQ(EscapeMarkup("<a href=\"x\">&amp;</a>"),
            "&lt;a href=&quot;x&quot;&gt;&amp;amp;&lt;/a&gt;");
  EXPECT_EQ(EscapeMarkup("KL(dense ‖ sparse)"), "KL(dense ‖ sparse)");
}

TEST(Markup, TablesAlignColumnsOfNumbers) {
  const TableRows rows = {{"name", "x"}, {"a|b", "-1.5 [0, 2]"}, {"<b>", "2"}};
  EXPECT_EQ(MarkdownTable(rows), "| name | x |\n|---|--:|\n| a\\|b | -1.5 [0, 2] |\n| <b> | 2 |\n");
  EXPECT_EQ(HtmlTable(rows),
            "<table>\n<tr><th>name</th><th class=\"number\">x</th></tr>\n"
            "<tr><td>a|b</td><td class=\"number\">-1.5 [0, 2]</td></tr>\n"
            "<tr><td>&lt;b&gt;</td><td class=\"number\">2</td></tr>\n</table>\n");
}

TEST(Markup, TablesOfMarkdownBecomeHtml) {
  EXPECT_EQ(HtmlOfMarkdown("## A <title>\n\nText.\n\n| a | b |\n|---|--:|\n| x | 1 |\n\nMore.\n"),
            "<h4>A &lt;title&gt;</h4>\n<p>Text.</p>\n"
            "<table>\n<tr><th>a</th><th class=\"number\">b</th></tr>\n"
            "<tr><td>x</td><td class=\"number\">1</td></tr>\n</table>\n<p>More.</p>\n");
  EXPECT_EQ(HtmlOfMarkdown(""), "");
}

}  // namespace
}  // namespace sieve
