#include "client/text_printer.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace sieve {
namespace {

std::string Show(const v1::TokenLogprob& token) {
  return absl::StrFormat("\"%s\" %.3f", absl::Utf8SafeCEscape(token.token()), token.logprob());
}

}  // namespace

TextPrinter::TextPrinter(const Session& session, int num_samples)
    : session_(session), stats_(num_samples), texts_(std::max(1, num_samples)) {}

void TextPrinter::OnEvent(const v1::GenerateEvent& event) {
  stats_.OnEvent(event);
  if (event.has_delta()) OnDelta(event.delta());
}

void TextPrinter::OnDelta(const v1::Delta& delta) {
  if (delta.sample() < 0 || delta.sample() >= static_cast<int>(texts_.size())) return;
  texts_[delta.sample()] += delta.text();
  if (texts_.size() == 1) *session_.out << delta.text() << std::flush;
  PrintLogprobs(delta);
}

void TextPrinter::PrintLogprobs(const v1::Delta& delta) {
  for (const v1::PositionLogprobs& position : delta.logprobs()) {
    *session_.err << "sample " << delta.sample() << ": " << Show(position.chosen());
    if (position.top_size() > 0) {
      *session_.err << "  of "
                    << absl::StrJoin(position.top(), ", ",
                                     [](std::string* text, const v1::TokenLogprob& token) {
                                       text->append(Show(token));
                                     });
    }
    *session_.err << '\n';
  }
}

void TextPrinter::Finish() {
  for (size_t i = 0; i < texts_.size(); ++i) {
    if (texts_.size() > 1) *session_.out << "--- sample " << i << " ---\n" << texts_[i];
    if (!texts_[i].empty() && !absl::EndsWith(texts_[i], "\n")) *session_.out << '\n';
  }
  *session_.out << std::flush;
  if (session_.stats && stats_.tokens() > 0) PrintStats();
}

void TextPrinter::PrintStats() {
  std::string rate, reads;
  if (const auto speed = stats_.tokens_per_second(); speed.has_value()) {
    rate = absl::StrFormat(", %.1f tokens/s", *speed);
  }
  if (stats_.reads().has_value()) {
    reads = absl::StrFormat("; read %s of the keys, %s of the cache",
                            FormatDensity(*stats_.reads()), FormatReadBytes(*stats_.reads()));
  }
  const v1::Accepted& accepted = stats_.accepted();
  *session_.err << absl::StreamFormat(
                       "time to first token %.0f ms%s (%d tokens after a prompt of %d, of which %d "
                       "cached; %s%s)",
                       absl::ToDoubleMilliseconds(*stats_.time_to_first_token()), rate,
                       stats_.tokens(), accepted.prompt_tokens(), accepted.cached_prompt_tokens(),
                       stats_.reasons(), reads)
                << std::endl;
}

}  // namespace sieve
