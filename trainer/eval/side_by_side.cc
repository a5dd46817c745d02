#include "trainer/eval/side_by_side.h"

#include <utility>

namespace sieve {

absl::StatusOr<std::vector<std::vector<Generated>>> GenerateSideBySide(
    Transformer* model, const Tokenizer& tokenizer, absl::Span<const std::vector<int32_t>> prompts,
    int64_t variants, const GreedyOptions& options) {
  // All of one prompt together: what was written out when a run is stopped is comparable.
  std::vector<Prompt> all;
  for (const std::vector<int32_t>& prompt : prompts) {
    for (int64_t v = -1; v < variants; ++v) all.push_back({prompt, static_cast<int32_t>(v)});
  }
  auto generated = GenerateGreedy(model, tokenizer, all, options);
  if (!generated.ok()) return generated.status();
  std::vector<std::vector<Generated>> out(variants + 1);
  for (size_t i = 0; i < generated->size(); ++i) {
    out[i % out.size()].push_back(std::move((*generated)[i]));
  }
  return out;
}

}  // namespace sieve
