#include "client/utf8.h"

#include <string>

#include "gtest/gtest.h"

namespace sieve {
namespace {

TEST(Utf8Test, TakesWellFormedText) {
  for (const std::string& text :
       {std::string(), std::string("plain"), std::string("\0", 1), std::string("\xC2\x80"),
        std::string("\xDF\xBF"), std::string("\xE0\xA0\x80"), std::string("\xED\x9F\xBF"),
        std::string("\xEE\x80\x80"), std::string("\xF0\x90\x80\x80"),
        std::string("\xF4\x8F\xBF\xBF"), std::string("\u00e9\u4e2d\U0001F600")}) {
    EXPECT_TRUE(IsUtf8(text)) << text;
  }
}

TEST(Utf8Test, RefusesTheRest) {
  for (const char* text :
       {"\x80", "a\xBF", "\xC3", "\xC3z", "\xC0\xAF", "\xC1\xBF", "\xE0\x9F\xBF", "\xE2\x82",
        "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
        "\xF8\x88\x80\x80\x80", "\xFE", "\xFF", "ok\xF0\x9F\x98"}) {
    EXPECT_FALSE(IsUtf8(text)) << text;
  }
}

}  // namespace
}  // namespace sieve
