#ifndef SIEVE_TRAINER_BATCHES_H_
#define SIEVE_TRAINER_BATCHES_H_

#include <cstdint>

#include "absl/types/span.h"
#include "trainer/document.h"
#include "trainer/sequences.h"
#include "trainer/torch_ops.h"

namespace sieve {

// Sequences of `length` tokens that begin at `begins`, int64 [sequences, length] on a device.
at::Tensor MakeBatch(absl::Span<const int32_t> tokens, absl::Span<const int64_t> begins,
                     int64_t length, at::Device device);

// N rows, padded after their end to the longest, T.
struct TokenBatch {
  at::Tensor tokens;   // int64 [N, T]; 0 in the padding
  at::Tensor real;     // bool [N, T], false in the padding; undefined without any
  at::Tensor answers;  // bool [N, T]; undefined without any
};

// `answers` are ranges of `tokens`, ascending.
TokenBatch MakeTokenBatch(absl::Span<const int32_t> tokens, absl::Span<const TokenRange> answers,
                          absl::Span<const Sequence> rows, at::Device device);

// How many tokens of answers a token of their own row is before.
int64_t AnswersOf(absl::Span<const TokenRange> answers, absl::Span<const Sequence> rows);

}  // namespace sieve

#endif  // SIEVE_TRAINER_BATCHES_H_
