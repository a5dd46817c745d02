#include "model/tokenizer/word_splitter.h"

#include <pcre2.h>

#include <cstdint>
#include <string>
#include <utility>

#include "absl/base/internal/raw_logging.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/tokenizer/unicode_additions.h"
#include "model/tokenizer/utf8.h"
#include "model/tokenizer/utf8_stream.h"

namespace sieve {
namespace {

// The patterns are those that the models were trained with, made possessive where that changes
// nothing. Each has an alternative for every character, so a match at the end of the previous one
// always exists. \s is spelt out because PCRE2's includes U+180E, which has not been a space since
// Unicode 6.3.
std::string Pattern(PreTokenizer kind) {
  const std::string letter = absl::StrCat(R"(\p{L})", kNewLetters);
  const std::string number = absl::StrCat(R"(\p{N})", kNewNumbers);
  const std::string space = R"(\x09-\x0D\x{85}\p{Z})";
  switch (kind) {
    case PreTokenizer::kGpt2:
      return absl::StrCat("'(?:[stmd]|re|ve|ll)",                 //
                          "| ?[", letter, "]++",                  //
                          "| ?[", number, "]++",                  //
                          "| ?[^", space, letter, number, "]++",  //
                          "|[", space, "]+(?![^", space, "])",    //
                          "|[", space, "]++");
    case PreTokenizer::kLlama3:
      return absl::StrCat("'(?i:[stmd]|re|ve|ll)",                             //
                          "|[^\\r\\n", letter, number, "]?+[", letter, "]++",  //
                          "|[", number, "]{1,3}+",                             //
                          "| ?[^", space, letter, number, "]++[\\r\\n]*+",     //
                          "|[", space, "]*[\\r\\n]++",                         //
                          "|[", space, "]+(?![^", space, "])",                 //
                          "|[", space, "]++");
    case PreTokenizer::kSmolLm:
      break;
  }
  // Numbers are cut out one by one before the GPT-2 pattern sees the pieces between them: for its
  // last but one alternative a number is where the text ends.
  const std::string digit = absl::StrCat(number, kNewNumbers17);
  return absl::StrCat("[", digit, "]",                             //
                      "|'(?:[stmd]|re|ve|ll)",                     //
                      "| ?[", letter, "]++",                       //
                      "| ?[^", space, letter, digit, "]++",        //
                      "|[", space, "]+(?![^", space, digit, "])",  //
                      "|[", space, "]++");
}

// A valid text of the same length whose words end where those of `text` should: each ill-formed
// subpart becomes a character of as many bytes that is neither letter, number nor space.
std::string MakeValid(std::string_view text) {
  constexpr std::string_view kStandIns[] = {"", "\x01", "\xC2\x80", "\xEF\xBF\xBD"};
  std::string valid;
  valid.reserve(text.size());
  while (!text.empty()) {
    const Utf8Prefix prefix = ClassifyUtf8(text);
    valid += prefix.kind == Utf8Prefix::Kind::kCharacter ? text.substr(0, prefix.length)
                                                         : kStandIns[prefix.length];
    text.remove_prefix(prefix.length);
  }
  return valid;
}

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatchContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

class PatternSplitter : public WordSplitter {
 public:
  explicit PatternSplitter(std::unique_ptr<pcre2_code, FreeCode> code)
      : code_(std::move(code)), context_(pcre2_match_context_create(nullptr)) {
    // The patterns backtrack at most over one run of spaces; the default limit is less than a long
    // one.
    pcre2_set_match_limit(context_.get(), UINT32_MAX);
  }

  void Split(std::string_view text, absl::FunctionRef<void(std::string_view)> word) const override {
    if (IsValidUtf8(text)) return SplitValid(text, text, word);
    SplitValid(MakeValid(text), text, word);
  }

 private:
  // Matches in `valid`, of the same length as `text`.
  void SplitValid(std::string_view valid, std::string_view text,
                  absl::FunctionRef<void(std::string_view)> word) const {
    const std::unique_ptr<pcre2_match_data, FreeMatchData> data(
        pcre2_match_data_create(1, nullptr));
    for (size_t begin = 0; begin < valid.size();) {
      const int rc =
          pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(valid.data()), valid.size(), begin,
                      PCRE2_NO_UTF_CHECK, data.get(), context_.get());
      const size_t end = pcre2_get_ovector_pointer(data.get())[1];
      ABSL_RAW_CHECK(rc > 0 && end > begin, "a pre-tokenizer's pattern must match any text");
      word(text.substr(begin, end - begin));
      begin = end;
    }
  }

  std::unique_ptr<pcre2_code, FreeCode> code_;
  std::unique_ptr<pcre2_match_context, FreeMatchContext> context_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<WordSplitter>> WordSplitter::Create(PreTokenizer kind) {
  const std::string pattern = Pattern(kind);
  int error = 0;
  PCRE2_SIZE offset = 0;
  std::unique_ptr<pcre2_code, FreeCode> code(pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED | PCRE2_NO_AUTO_CAPTURE, &error, &offset, nullptr));
  if (code == nullptr) {
    return absl::InternalError(
        absl::StrCat("PCRE2 error ", error, " at offset ", offset, " of pattern ", pattern));
  }
  // Without a compiler for this machine pcre2_match interprets the pattern, with the same result.
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
  return std::make_unique<PatternSplitter>(std::move(code));
}

}  // namespace sieve
