#include "client/answer_stats.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"

namespace sieve {
namespace {

std::string ReasonName(v1::FinishReason reason) {
  const std::string name = v1::FinishReason_Name(reason);
  return absl::AsciiStrToLower(absl::StripPrefix(name, "FINISH_REASON_"));
}

}  // namespace

AnswerStats::AnswerStats(int num_samples)
    : num_samples_(std::max(1, num_samples)), start_(absl::Now()) {}

void AnswerStats::OnEvent(const v1::GenerateEvent& event) {
  if (event.has_accepted()) accepted_ = event.accepted();
  if (event.has_finished()) {
    reasons_.push_back(ReasonName(event.finished().reason()));
    reads_ = event.finished().reads();
  }
  if (event.delta().token_ids_size() == 0) return;
  last_token_ = absl::Now();
  first_token_ = std::min(first_token_, last_token_);
  tokens_ += event.delta().token_ids_size();
}

std::string AnswerStats::reasons() const {
  return reasons_.empty() ? "not finished" : absl::StrJoin(reasons_, ", ");
}

std::optional<absl::Duration> AnswerStats::time_to_first_token() const {
  if (tokens_ == 0) return std::nullopt;
  return first_token_ - start_;
}

std::optional<double> AnswerStats::tokens_per_second() const {
  const int64_t decoded = tokens_ - num_samples_;
  const absl::Duration time = last_token_ - first_token_;
  if (decoded <= 0 || time <= absl::ZeroDuration()) return std::nullopt;
  return static_cast<double>(decoded) / absl::ToDoubleSeconds(time);
}

std::optional<v1::CacheReads> AnswerStats::reads() const {
  if (reads_.causal_keys() == 0) return std::nullopt;
  return reads_;
}

std::string FormatDensity(const v1::CacheReads& reads) {
  return absl::StrFormat("%.3g %%", 100.0 * static_cast<double>(reads.exact_keys()) /
                                        static_cast<double>(reads.causal_keys()));
}

std::string FormatReadBytes(const v1::CacheReads& reads) {
  double bytes = static_cast<double>(reads.key_value_bytes()) +
                 static_cast<double>(reads.choice_bytes()) +
                 static_cast<double>(reads.entry_bytes());
  const char* const units[] = {"KiB", "MiB", "GiB", "TiB"};
  int unit = 0;
  for (bytes /= 1024; bytes >= 1000 && unit < 3; ++unit) bytes /= 1024;
  return absl::StrFormat("%.3g %s", bytes, units[unit]);
}

}  // namespace sieve
