#include "model/tokenizer/byte_alphabet.h"

#include <gtest/gtest.h>

#include "model/tokenizer/utf8_stream.h"

namespace sieve {
namespace {

TEST(ByteAlphabetTest, EveryByteComesBack) {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.push_back(static_cast<char>(byte));
  const std::string text = AlphabetFromBytes(bytes);
  EXPECT_TRUE(IsValidUtf8(text));
  EXPECT_EQ(BytesFromAlphabet(text), bytes);
}

TEST(ByteAlphabetTest, HasTheKnownSpellings) {
  EXPECT_EQ(BytesFromAlphabet("Ġthe"), " the");
  EXPECT_EQ(BytesFromAlphabet("ĊĉÃ©"), "\n\t\xC3\xA9");
  EXPECT_EQ(AlphabetFromBytes(std::string_view("\x00\x7F\xAD\xA0", 4)), "ĀġŃł");
  EXPECT_EQ(BytesFromAlphabet(""), "");
}

TEST(ByteAlphabetTest, RefusesOtherCharacters) {
  for (const char* text : {" ", "\n", "a b", "\xC5\x84", "\xE4\xBA\xBA", "\xC2", "\xC2\x41",
                           "\xC2\xAD", "\xC1\xA1", "\xF0\x9F\x98\x80"}) {
    EXPECT_FALSE(BytesFromAlphabet(text).has_value()) << testing::PrintToString(text);
  }
}

}  // namespace
}  // namespace sieve
