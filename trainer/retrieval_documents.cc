#include "trainer/retrieval_documents.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <set>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace sieve {
namespace {

// $K is a fact's key, $N its number. Answers follow their question after a space.
struct Wording {
  std::string_view fact, question;
};

constexpr Wording kWordings[] = {
    {"The secret number of $K is $N.", "The secret number of $K is"},
    {"The pass key for $K is $N. Remember it. $N is the pass key for $K.",
     "What is the pass key for $K? The pass key for $K is"},
    {"One of the special numbers for $K is: $N.",
     "What is the special number for $K? The special number for $K is:"},
    {"$K: $N", "$K:"},
};
// Of a document with one fact, every other time.
constexpr Wording kWithoutKey = {"The pass key is $N. Remember it. $N is the pass key.",
                                 "What is the pass key? The pass key is"};

constexpr int kTries = 1000;       // enough for any text but one almost without words
constexpr size_t kWordBytes = 4;   // of the shortest word of a key
constexpr size_t kTokenBytes = 8;  // more than a token of prose has

constexpr char kTooFewWords[] = "it has too few words";

class Maker {
 public:
  Maker(const std::string& text, const RetrievalOptions& options, const Tokenizer& tokenizer)
      : text_(text), options_(options), tokenizer_(tokenizer), random_(options.seed) {}

  absl::StatusOr<EncodedDocument> Make() {
    const int64_t count = options_.facts[Below(options_.facts.size())];
    wording_ = count == 1 && Below(2) == 0 ? kWithoutKey : kWordings[Below(std::size(kWordings))];
    const size_t place = Below(text_.size());
    absl::Status status = DrawFacts(count, place);
    if (!status.ok()) return status;

    std::vector<std::vector<int32_t>> facts;
    size_t used = 0;
    for (const Fact& fact : facts_) {
      facts.push_back(Encode(absl::StrCat("\n", Worded(wording_.fact, fact), "\n")));
      used += facts.back().size();
    }
    const EncodedDocument questions = Questions();
    used += questions.tokens.size();
    const size_t wanted = static_cast<size_t>(options_.tokens);
    // Most of it is to be text, or retrieval is not over a distance.
    if (2 * used > wanted) {
      return absl::InvalidArgumentError(absl::StrCat("documents of ", wanted, " tokens for ", count,
                                                     " facts, which take ", used));
    }
    const std::vector<int32_t> filler = Excerpt(place, wanted - used);
    return Assemble(filler, facts, questions);
  }

 private:
  struct Fact {
    std::string key, number;
  };

  // Not std::uniform_int_distribution, which may differ between libraries.
  size_t Below(size_t bound) { return random_() % bound; }

  std::string Worded(std::string_view wording, const Fact& fact) const {
    return absl::StrReplaceAll(absl::string_view(wording.data(), wording.size()),
                               {{"$K", fact.key}, {"$N", fact.number}});
  }

  std::vector<int32_t> Encode(std::string_view text) const {
    return tokenizer_.Encode(text, {.add_special_tokens = false});
  }

  // Key words are of the excerpt or near it, so that they do not stand out by their kind.
  absl::Status DrawFacts(int64_t count, size_t place) {
    facts_.clear();
    std::set<std::string> keys, numbers;
    for (int tries = 0; tries < kTries && facts_.size() < static_cast<size_t>(count); ++tries) {
      const std::string first = DrawWord(place), second = DrawWord(place);
      Fact fact = {absl::StrCat(first, "-", second), absl::StrCat(10000 + Below(90000))};
      if (first.empty() || second.empty() || keys.contains(fact.key)) continue;
      if (!numbers.insert(fact.number).second) continue;
      keys.insert(fact.key);
      facts_.push_back(std::move(fact));
    }
    return facts_.size() == static_cast<size_t>(count) ? absl::OkStatus()
                                                       : absl::InvalidArgumentError(kTooFewWords);
  }

  // A word at a random place near `place`; empty where there is none.
  std::string DrawWord(size_t place) {
    size_t begin = (place + Below(options_.tokens * kWordBytes)) % text_.size();
    while (begin < text_.size() && absl::ascii_isalpha(text_[begin])) ++begin;
    while (begin < text_.size() && !absl::ascii_isalpha(text_[begin])) ++begin;
    size_t end = begin;
    while (end < text_.size() && absl::ascii_islower(text_[end])) ++end;
    const bool whole = end == text_.size() || absl::ascii_isspace(text_[end]);
    return whole && end - begin >= kWordBytes ? text_.substr(begin, end - begin) : std::string();
  }

  EncodedDocument Questions() {
    std::vector<size_t> order(facts_.size());
    std::iota(order.begin(), order.end(), 0);
    for (size_t i = 1; i < order.size(); ++i) std::swap(order[i], order[Below(i + 1)]);
    EncodedDocument out;
    const auto add = [&out](const std::vector<int32_t>& tokens) {
      out.tokens.insert(out.tokens.end(), tokens.begin(), tokens.end());
    };
    for (const size_t i : order) {
      add(Encode(
          absl::StrCat(out.tokens.empty() ? "\n\n" : "\n", Worded(wording_.question, facts_[i]))));
      const int64_t begin = static_cast<int64_t>(out.tokens.size());
      add(Encode(absl::StrCat(" ", facts_[i].number)));
      out.answers.push_back({begin, static_cast<int64_t>(out.tokens.size())});
    }
    return out;
  }

  // `count` tokens of the text from the first word at or after a place on, round its end.
  std::vector<int32_t> Excerpt(size_t place, size_t count) const {
    const size_t space = text_.find_first_of(" \n", place);
    const size_t begin = space == std::string::npos ? 0 : space + 1;
    for (size_t bytes = count * kTokenBytes;; bytes *= 2) {
      std::string excerpt = text_.substr(begin, bytes);
      while (excerpt.size() < bytes) {
        absl::StrAppend(&excerpt, "\n\n", text_.substr(0, bytes - excerpt.size()));
      }
      std::vector<int32_t> tokens = tokenizer_.Encode(excerpt, {});
      if (tokens.size() < count) continue;
      tokens.resize(count);
      return tokens;
    }
  }

  // After which tokens a fact may follow: those that end a sentence or a line.
  std::vector<size_t> Borders(const std::vector<int32_t>& filler) const {
    std::vector<size_t> borders;
    for (size_t i = 0; i < filler.size(); ++i) {
      const std::string_view bytes = tokenizer_.TokenBytes(filler[i]);
      if (!bytes.empty() && (bytes.back() == '.' || bytes.back() == '\n')) borders.push_back(i + 1);
    }
    if (borders.empty()) borders.push_back(filler.size());
    return borders;
  }

  EncodedDocument Assemble(const std::vector<int32_t>& filler,
                           const std::vector<std::vector<int32_t>>& facts,
                           const EncodedDocument& questions) {
    const std::vector<size_t> borders = Borders(filler);
    std::vector<size_t> places;
    for (size_t i = 0; i < facts.size(); ++i) {
      // The border at or after a place, so that long stretches without one get their share.
      const size_t place = Below(filler.size());
      const auto border = std::lower_bound(borders.begin(), borders.end(), place + 1);
      places.push_back(border == borders.end() ? borders.back() : *border);
    }
    std::sort(places.begin(), places.end());
    EncodedDocument out;
    size_t done = 0;
    for (size_t i = 0; i < facts.size(); ++i) {
      out.tokens.insert(out.tokens.end(), filler.begin() + done, filler.begin() + places[i]);
      out.tokens.insert(out.tokens.end(), facts[i].begin(), facts[i].end());
      done = places[i];
    }
    out.tokens.insert(out.tokens.end(), filler.begin() + done, filler.end());
    const int64_t begin = static_cast<int64_t>(out.tokens.size());
    out.tokens.insert(out.tokens.end(), questions.tokens.begin(), questions.tokens.end());
    for (const TokenRange& answer : questions.answers) {
      out.answers.push_back({begin + answer.begin, begin + answer.end});
    }
    return out;
  }

  const std::string& text_;
  const RetrievalOptions& options_;
  const Tokenizer& tokenizer_;
  std::mt19937_64 random_;
  Wording wording_;
  std::vector<Fact> facts_;
};

}  // namespace

absl::Status MakeRetrievalDocuments(
    const std::string& text, const RetrievalOptions& options, const Tokenizer& tokenizer,
    const std::function<absl::Status(const EncodedDocument&)>& each) {
  if (text.empty()) return absl::InvalidArgumentError(kTooFewWords);
  Maker maker(text, options, tokenizer);
  for (int64_t i = 0; i < options.documents; ++i) {
    const absl::StatusOr<EncodedDocument> document = maker.Make();
    if (!document.ok()) return document.status();
    const absl::Status status = each(*document);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace sieve
