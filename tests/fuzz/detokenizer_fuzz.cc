// Tokens to text: Utf8Stream, DecodeBytes, and TextStream with stop texts, against plain
// definitions of what they must give.

#include <optional>
#include <string>
#include <vector>

#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/utf8_stream.h"
#include "server/text_stream.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/input.h"
#include "tests/server/fake_tokenizer.h"

namespace {

using namespace sieve;  // NOLINT: LLVMFuzzerTestOneInput must be outside

// Tokens of several bytes, some of them parts of characters.
const FakeTokenizer& FuzzTokenizer() {
  static const FakeTokenizer* const tokenizer = new FakeTokenizer(
      {"ab", "aab", "abc", "\xE2\x82", "\xE2\x82\xAC", "\xF0\x9F", "\x98\x80", "\xF0\x9F\x98\x80",
       "\xED\xA0", "\xC3", "\xA9 ", "\n\n", "stop", "\xFF\xFF", "\x80"});
  return *tokenizer;
}

std::string WholeText(std::string_view bytes) {
  Utf8Stream stream;
  std::string text = stream.Append(bytes);
  return text + stream.Finish();
}

struct Input {
  std::vector<std::string> stops;  // UTF-8, not empty
  std::vector<int32_t> tokens;
  size_t obey_from = 0;  // the first token whose stops count
};

Input ReadInput(InputReader reader) {
  Input input;
  input.obey_from = reader.Number<uint8_t>() % 8;
  for (int left = reader.Number<uint8_t>() % 5; left > 0; --left) {
    std::string stop = WholeText(reader.Bytes(reader.Number<uint8_t>() % 16));
    if (!stop.empty()) input.stops.push_back(std::move(stop));
  }
  while (!reader.empty()) {
    const int32_t token = reader.Number<uint8_t>();
    // 255 is no byte of UTF-8: it leads to the other tokens.
    const int64_t others = FuzzTokenizer().vocabulary_size() - 255;
    input.tokens.push_back(token < 255 ? token : 255 + reader.Number<uint8_t>() % others);
  }
  return input;
}

struct Output {
  std::string text;
  std::optional<std::string> stop;
};

// What the definition says: the stop that is complete first ends the text, the longest of several.
Output Expected(const Input& input) {
  Utf8Stream utf8;
  std::string text;
  for (size_t i = 0; i < input.tokens.size(); ++i) {
    if (FuzzTokenizer().IsSpecial(input.tokens[i])) continue;
    for (const char byte : utf8.Append(FuzzTokenizer().TokenBytes(input.tokens[i]))) {
      text.push_back(byte);
      if (i < input.obey_from) continue;
      std::optional<std::string> longest;
      for (const std::string& stop : input.stops) {
        if (text.ends_with(stop) && (!longest || stop.size() > longest->size())) longest = stop;
      }
      if (longest) return {text.substr(0, text.size() - longest->size()), longest};
    }
  }
  return {text + utf8.Finish(), std::nullopt};
}

Output Actual(const Input& input) {
  TextStream stream(&FuzzTokenizer(), input.stops);
  Output output;
  for (size_t i = 0; i < input.tokens.size(); ++i) {
    const TextStream::Piece piece = stream.Append(input.tokens[i], i >= input.obey_from);
    FUZZ_CHECK(IsValidUtf8(piece.text), piece.text);
    output.text += piece.text;
    output.stop = piece.stop;
    if (piece.stop) return output;
  }
  output.text += stream.Finish();
  return output;
}

void CheckUtf8(const std::string& bytes) {
  const std::string text = WholeText(bytes);
  FUZZ_CHECK(IsValidUtf8(text));
  size_t offset = bytes.size();
  const bool valid = IsValidUtf8(bytes, &offset);
  FUZZ_CHECK(valid == (text == bytes));
  FUZZ_CHECK(IsValidUtf8(std::string_view(bytes).substr(0, offset)), offset);
  // However the bytes are cut.
  Utf8Stream stream;
  std::string pieces;
  for (size_t begin = 0, length = 1; begin < bytes.size(); begin += length++) {
    pieces += stream.Append(std::string_view(bytes).substr(begin, length));
  }
  FUZZ_CHECK(pieces + stream.Finish() == text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Input input = ReadInput(InputReader(InputText(data, size)));
  const Output expected = Expected(input), actual = Actual(input);
  FUZZ_CHECK(actual.text == expected.text, "text: ", actual.text, ", expected: ", expected.text);
  FUZZ_CHECK(actual.stop == expected.stop);
  CheckUtf8(DecodeBytes(FuzzTokenizer(), input.tokens, /*include_special_tokens=*/false));
  CheckUtf8(DecodeBytes(FuzzTokenizer(), input.tokens, /*include_special_tokens=*/true));
  return 0;
}
