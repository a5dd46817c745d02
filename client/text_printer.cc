#include "client/text_printer.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace sieve {
namespace {

std::string ReasonName(v1::FinishReason reason) {
  const std::string name = v1::FinishReason_Name(reason);
  return absl::AsciiStrToLower(absl::StripPrefix(name, "FINISH_REASON_"));
}

std::string Show(const v1::TokenLogprob& token) {
  return absl::StrFormat("\"%s\" %.3f", absl::Utf8SafeCEscape(token.token()), token.logprob());
}

}  // namespace

TextPrinter::TextPrinter(const Session& session, int num_samples)
    : session_(session), start_(absl::Now()), texts_(std::max(1, num_samples)) {}

void TextPrinter::OnEvent(const v1::GenerateEvent& event) {
  switch (event.event_case()) {
    case v1::GenerateEvent::kAccepted:
      accepted_ = event.accepted();
      break;
    case v1::GenerateEvent::kDelta:
      OnDelta(event.delta());
      break;
    case v1::GenerateEvent::kFinished:
      reasons_.push_back(ReasonName(event.finished().reason()));
      break;
    case v1::GenerateEvent::EVENT_NOT_SET:
      break;  // an event of a newer server
  }
}

void TextPrinter::OnDelta(const v1::Delta& delta) {
  if (delta.token_ids_size() > 0) {
    last_token_ = absl::Now();
    first_token_ = std::min(first_token_, last_token_);
    tokens_ += delta.token_ids_size();
  }
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
  if (session_.stats && tokens_ > 0) PrintStats();
}

void TextPrinter::PrintStats() {
  // The first token of each sample comes out of the prompt's step.
  const int64_t decoded = tokens_ - static_cast<int64_t>(texts_.size());
  const double seconds = absl::ToDoubleSeconds(last_token_ - first_token_);
  std::string rate;
  if (decoded > 0 && seconds > 0) rate = absl::StrFormat(", %.1f tokens/s", decoded / seconds);
  *session_.err << absl::StreamFormat(
                       "time to first token %.0f ms%s (%d tokens after a prompt of %d, of which %d "
                       "cached; %s)",
                       absl::ToDoubleMilliseconds(first_token_ - start_), rate, tokens_,
                       accepted_.prompt_tokens(), accepted_.cached_prompt_tokens(),
                       reasons_.empty() ? "not finished" : absl::StrJoin(reasons_, ", "))
                << std::endl;
}

}  // namespace sieve
