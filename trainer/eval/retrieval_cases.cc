#include "trainer/eval/retrieval_cases.h"

#include <cmath>
#include <random>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "trainer/eval/json_lines.h"

namespace sieve {
namespace {

constexpr char kIntroduction[] =
    "There is a pass key hidden in the following text. Find it and remember it.\n\n";
constexpr char kQuestion[] = "\n\nWhat is the pass key? The pass key is the number";

void Append(absl::Span<const int32_t> tokens, std::vector<int32_t>* prompt) {
  prompt->insert(prompt->end(), tokens.begin(), tokens.end());
}

absl::StatusOr<RetrievalCase> PasskeyCase(const Tokenizer& tokenizer,
                                          absl::Span<const int32_t> book, int64_t length,
                                          double depth, std::mt19937_64* random) {
  const std::string key = absl::StrCat(10000 + (*random)() % 90000);
  const std::string sentence = absl::StrCat("\n\nThe pass key is the number ", key,
                                            ". Remember it: the number is ", key, ".\n\n");
  const EncodeOptions inside = {.add_special_tokens = false};
  RetrievalCase out = {.group = absl::StrCat("passkey ", length),
                       .prompt = tokenizer.Encode(kIntroduction, {}),
                       .expected = key,
                       .depth = depth};
  const std::vector<int32_t> needle = tokenizer.Encode(sentence, inside);
  const std::vector<int32_t> question = tokenizer.Encode(kQuestion, inside);
  const int64_t filler =
      length - static_cast<int64_t>(out.prompt.size() + needle.size() + question.size());
  const int64_t spare = static_cast<int64_t>(book.size()) - filler;
  if (filler < 1 || spare < 0) {
    return absl::InvalidArgumentError(absl::StrCat("a pass key prompt of ", length,
                                                   " tokens has room for ", filler,
                                                   " of filler; the text has ", book.size()));
  }
  const auto text = book.subspan((*random)() % static_cast<uint64_t>(spare + 1), filler);
  const int64_t before = std::llround(depth * static_cast<double>(filler));
  Append(text.subspan(0, before), &out.prompt);
  Append(needle, &out.prompt);
  Append(text.subspan(before), &out.prompt);
  Append(question, &out.prompt);
  return out;
}

absl::StatusOr<RetrievalCase> LineCase(const Tokenizer& tokenizer, const nlohmann::json& object,
                                       const std::string& path) {
  const absl::StatusOr<std::string> text = TextField(object, "prompt", path);
  if (!text.ok()) return text.status();
  const nlohmann::json place = object.value("random_idx", nlohmann::json());
  const nlohmann::json lines = object.value("num_lines", nlohmann::json());
  const nlohmann::json expected = object.value("expected_number", nlohmann::json());
  if (!place.is_array() || place.size() != 2 || !place[0].is_string() ||
      !place[1].is_number_integer() || !lines.is_number_integer() || lines <= 0 ||
      !expected.is_number_integer()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path,
                     ": a line lacks \"random_idx\" [text, number], \"num_lines\" or "
                     "\"expected_number\""));
  }
  const std::string prompt =
      absl::StrCat(absl::StripAsciiWhitespace(*text), "\nThe <REGISTER_CONTENT> in line ",
                   place[0].get<std::string>(), " is <");
  return RetrievalCase{.group = absl::StrCat("lines ", lines.get<int64_t>()),
                       .prompt = tokenizer.Encode(prompt, {}),
                       .expected = absl::StrCat(expected.get<int64_t>()),
                       .depth = place[1].get<double>() / lines.get<double>()};
}

}  // namespace

absl::StatusOr<std::vector<RetrievalCase>> PasskeyCases(const Tokenizer& tokenizer,
                                                        absl::Span<const int32_t> book,
                                                        const PasskeyOptions& options) {
  std::mt19937_64 random(options.seed);
  std::vector<RetrievalCase> cases;
  for (const int64_t length : options.lengths) {
    for (int64_t i = 0; i < options.cases; ++i) {
      const double depth = (static_cast<double>(i) + 0.5) / static_cast<double>(options.cases);
      absl::StatusOr<RetrievalCase> one = PasskeyCase(tokenizer, book, length, depth, &random);
      if (!one.ok()) return one.status();
      cases.push_back(*std::move(one));
    }
  }
  return cases;
}

absl::StatusOr<std::vector<RetrievalCase>> LineCases(const Tokenizer& tokenizer,
                                                     const std::string& path, int64_t limit) {
  const auto objects = ReadJsonLines(path, limit);
  if (!objects.ok()) return objects.status();
  std::vector<RetrievalCase> cases;
  for (const nlohmann::json& object : *objects) {
    absl::StatusOr<RetrievalCase> one = LineCase(tokenizer, object, path);
    if (!one.ok()) return one.status();
    cases.push_back(*std::move(one));
  }
  return cases;
}

bool Recalls(const std::string& continuation, const std::string& expected) {
  size_t begin = 0;
  while (begin < continuation.size() && !absl::ascii_isdigit(continuation[begin])) ++begin;
  size_t end = begin;
  while (end < continuation.size() && absl::ascii_isdigit(continuation[end])) ++end;
  return continuation.substr(begin, end - begin) == expected;
}

}  // namespace sieve
