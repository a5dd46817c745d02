#include "trainer/batches.h"

#include <algorithm>

namespace sieve {
namespace {

// Calls `each` with every part [begin, end) of an answer within [begin, end).
template <typename Each>
void ForAnswersWithin(absl::Span<const TokenRange> answers, int64_t begin, int64_t end,
                      const Each& each) {
  const auto ends_after = [](const TokenRange& a, int64_t at) { return a.end <= at; };
  auto answer = std::lower_bound(answers.begin(), answers.end(), begin, ends_after);
  for (; answer != answers.end() && answer->begin < end; ++answer) {
    each(std::max(answer->begin, begin), std::min(answer->end, end));
  }
}

}  // namespace

at::Tensor MakeBatch(absl::Span<const int32_t> tokens, absl::Span<const int64_t> begins,
                     int64_t length, at::Device device) {
  std::vector<Sequence> rows;
  for (const int64_t begin : begins) rows.push_back({begin, length});
  return MakeTokenBatch(tokens, {}, rows, device).tokens;
}

TokenBatch MakeTokenBatch(absl::Span<const int32_t> tokens, absl::Span<const TokenRange> answers,
                          absl::Span<const Sequence> rows, at::Device device) {
  const int64_t count = static_cast<int64_t>(rows.size());
  int64_t longest = 0;
  for (const Sequence& row : rows) longest = std::max(longest, row.length);
  const at::Tensor ids = at::zeros({count, longest}, at::kLong);
  const at::Tensor real = at::zeros({count, longest}, at::kBool);
  const at::Tensor marked = at::zeros({count, longest}, at::kBool);
  for (int64_t n = 0; n < count; ++n) {
    const auto [begin, length] = rows[n];
    std::copy_n(tokens.begin() + begin, length, ids.data_ptr<int64_t>() + n * longest);
    std::fill_n(real.data_ptr<bool>() + n * longest, length, true);
    bool* marks = marked.data_ptr<bool>() + n * longest - begin;
    ForAnswersWithin(answers, begin, begin + length, [marks](int64_t first, int64_t last) {
      std::fill(marks + first, marks + last, true);
    });
  }
  TokenBatch batch;
  batch.tokens = ids.to(device);
  if (TokensOf(rows) < count * longest) batch.real = real.to(device);
  if (AnswersOf(answers, rows) > 0) batch.answers = marked.to(device);
  return batch;
}

int64_t AnswersOf(absl::Span<const TokenRange> answers, absl::Span<const Sequence> rows) {
  int64_t count = 0;
  for (const auto& [begin, length] : rows) {
    ForAnswersWithin(answers, begin + 1, begin + length,
                     [&count](int64_t first, int64_t last) { count += last - first; });
  }
  return count;
}

}  // namespace sieve
