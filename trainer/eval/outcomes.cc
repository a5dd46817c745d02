#include "trainer/eval/outcomes.h"

#include "trainer/eval/interval_json.h"
#include "trainer/eval/statistics.h"

namespace sieve {
namespace {

using nlohmann::ordered_json;

ordered_json Share(int64_t part, int64_t whole) {
  if (whole == 0) return nullptr;
  return static_cast<double>(part) / static_cast<double>(whole);
}

int64_t Successes(absl::Span<const double> outcomes) {
  int64_t count = 0;
  for (const double outcome : outcomes) count += outcome > 0 ? 1 : 0;
  return count;
}

}  // namespace

ordered_json OutcomesJson(absl::Span<const double> outcomes) {
  const int64_t trials = static_cast<int64_t>(outcomes.size()), successes = Successes(outcomes);
  return {{"trials", trials},
          {"successes", successes},
          {"rate", Share(successes, trials)},
          {"interval", ToJson(WilsonInterval(successes, trials))}};
}

ordered_json PairedOutcomesJson(absl::Span<const double> dense, absl::Span<const double> sparse,
                                uint64_t seed) {
  int64_t both = 0;
  for (size_t i = 0; i < dense.size(); ++i) both += dense[i] > 0 && sparse[i] > 0 ? 1 : 0;
  const int64_t solved = Successes(dense), only_dense = solved - both;
  const int64_t only_sparse = Successes(sparse) - both;
  ordered_json out = OutcomesJson(sparse);
  out["difference"] = Mean(sparse) - Mean(dense);
  out["difference_interval"] = ToJson(DifferenceInterval(dense, sparse, seed));
  out["only_dense"] = only_dense;
  out["only_sparse"] = only_sparse;
  out["mcnemar_p"] = McNemarP(only_dense, only_sparse);
  out["of_dense"] = Share(both, solved);
  out["of_dense_interval"] = ToJson(WilsonInterval(both, solved));
  return out;
}

}  // namespace sieve
