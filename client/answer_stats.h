#ifndef SIEVE_CLIENT_ANSWER_STATS_H_
#define SIEVE_CLIENT_ANSWER_STATS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "sieve/v1/generation.pb.h"

namespace sieve {

// What is told of an answer beside its text: times as this program saw them, counts as the server
// told them.
class AnswerStats {
 public:
  // The time to the first token counts from here.
  explicit AnswerStats(int num_samples = 1);

  void OnEvent(const v1::GenerateEvent& event);

  int64_t tokens() const { return tokens_; }  // all samples
  const v1::Accepted& accepted() const { return accepted_; }
  // What ended the samples, such as "max_tokens"; "not finished" before any did.
  std::string reasons() const;
  std::optional<absl::Duration> time_to_first_token() const;
  // From the first token to the last; the first of each sample comes out of the prompt's step.
  std::optional<double> tokens_per_second() const;
  // Until the last sample that finished; absent before, and of servers that do not tell.
  std::optional<v1::CacheReads> reads() const;

 private:
  int num_samples_;
  absl::Time start_;
  absl::Time first_token_ = absl::InfiniteFuture();
  absl::Time last_token_ = absl::InfinitePast();
  int64_t tokens_ = 0;
  v1::Accepted accepted_;
  v1::CacheReads reads_;
  std::vector<std::string> reasons_;
};

// Such as "38 %".
std::string FormatDensity(const v1::CacheReads& reads);
// All kinds together, such as "12.3 MiB".
std::string FormatReadBytes(const v1::CacheReads& reads);

}  // namespace sieve

#endif  // SIEVE_CLIENT_ANSWER_STATS_H_
