#include "client/wrap_text.h"

#include <locale.h>
#include <wchar.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"

namespace sieve {
namespace {

// One character: its bytes, its code point, and its columns.
struct Character {
  absl::string_view bytes;
  uint32_t code = 0;
  int width = 1;
};

// Columns of a code point, by the C library's tables; its own locale knows ASCII only.
int WidthOf(uint32_t code) {
  if (code < 0x80) return 1;
  static const locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  if (utf8 == nullptr) return 1;
  const locale_t before = uselocale(utf8);
  const int width = wcwidth(static_cast<wchar_t>(code));
  uselocale(before);
  return std::max(0, width);
}

// Takes the next character of text that is not empty. Bytes that are not UTF-8 are one each.
Character Take(absl::string_view* text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>((*text)[i]); };
  const unsigned char first = byte(0);
  const size_t length = first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  Character out{.bytes = text->substr(0, length), .code = first};
  if (length > 1) out.code = first & (0xff >> (length + 1));
  for (size_t i = 1; i < out.bytes.size(); ++i) out.code = out.code << 6 | (byte(i) & 0x3f);
  text->remove_prefix(out.bytes.size());
  out.width = WidthOf(out.code);
  return out;
}

bool IsControl(uint32_t code) { return code < 0x20 || (code >= 0x7f && code < 0xa0); }

class Wrapper {
 public:
  explicit Wrapper(int width) : width_(width) {}

  void Add(const Character& c) {
    if (c.code == '\n') return EndLine();
    if (c.code == '\t' || c.code == ' ') return AddSpace();
    if (IsControl(c.code)) return;
    if (word_columns_ + c.width > width_) EndWord();  // longer than a line
    absl::StrAppend(&word_, c.bytes);
    word_columns_ += c.width;
  }

  std::vector<std::string> Finish() {
    EndWord();
    if (columns_ > 0) Break();
    return std::move(lines_);
  }

 private:
  void AddSpace() {
    EndWord();
    if (columns_ >= width_) return;  // the line ends instead
    line_ += ' ';
    ++columns_;
  }

  void EndWord() {
    if (columns_ + word_columns_ > width_) Break();
    line_ += word_;
    columns_ += word_columns_;
    word_.clear();
    word_columns_ = 0;
  }

  void EndLine() {
    EndWord();
    Break();
  }

  void Break() {
    lines_.push_back(line_ + std::string(width_ - columns_, ' '));
    line_.clear();
    columns_ = 0;
  }

  const int width_;
  std::vector<std::string> lines_;
  std::string line_, word_;  // that are not finished
  int columns_ = 0, word_columns_ = 0;
};

}  // namespace

std::vector<std::string> WrapText(absl::string_view text, int width) {
  Wrapper wrapper(width);
  while (!text.empty()) wrapper.Add(Take(&text));
  return wrapper.Finish();
}

}  // namespace sieve
