#ifndef SIEVE_CLIENT_TEXT_PRINTER_H_
#define SIEVE_CLIENT_TEXT_PRINTER_H_

#include <string>
#include <vector>

#include "client/answer_stats.h"
#include "client/session.h"
#include "sieve/v1/generation.pb.h"

namespace sieve {

// Prints an answer for people. One sample's text goes to `out` as it comes; several are printed one
// after the other at the end, each under a line "--- sample I ---". Log-probabilities and timings
// go to `err`.
class TextPrinter {
 public:
  // `session` must outlive the printer. The time to first token counts from here.
  TextPrinter(const Session& session, int num_samples);

  void OnEvent(const v1::GenerateEvent& event);

  // After the last event, also when the call failed half-way.
  void Finish();

  // The text of the first sample so far.
  const std::string& text() const { return texts_[0]; }

 private:
  void OnDelta(const v1::Delta& delta);
  void PrintLogprobs(const v1::Delta& delta);
  void PrintStats();

  const Session& session_;
  AnswerStats stats_;
  std::vector<std::string> texts_;  // by sample
};

}  // namespace sieve

#endif  // SIEVE_CLIENT_TEXT_PRINTER_H_
