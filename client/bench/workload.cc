#include "client/bench/workload.h"

#include <cmath>

namespace sieve {
namespace {

// Streams of random numbers: what one purpose draws does not move another's draws.
enum Purpose : uint64_t { kGaps, kPromptLengths, kOutputLengths, kTenants, kCancels, kCount };

Rng MakeRng(uint64_t seed, int run, Purpose purpose) {
  return Rng(seed, static_cast<uint64_t>(run) * kCount + purpose);
}

class SyntheticWorkload final : public Workload {
 public:
  SyntheticWorkload(const BenchOptions& options, double rate, int run)
      : rate_(rate),
        poisson_(options.arrivals == BenchOptions::Arrivals::kPoisson),
        prompt_tokens_(options.prompt_tokens),
        max_tokens_(options.max_tokens),
        gaps_(MakeRng(options.seed, run, kGaps)),
        prompt_lengths_(MakeRng(options.seed, run, kPromptLengths)),
        output_lengths_(MakeRng(options.seed, run, kOutputLengths)),
        decorator_(options, run) {}

  std::optional<Arrival> Next() override {
    // In gaps of mean 1 and scaled afterwards: constant arrivals do not drift by rounding.
    gap_sum_ += poisson_ ? gaps_.Exponential() : 1;
    Arrival arrival;
    arrival.index = next_++;
    arrival.at_ns = static_cast<int64_t>(gap_sum_ / rate_ * 1e9);
    arrival.prompt_tokens = prompt_lengths_.InRange(prompt_tokens_.low, prompt_tokens_.high);
    arrival.max_tokens = output_lengths_.InRange(max_tokens_.low, max_tokens_.high);
    decorator_.Decorate(&arrival);
    return arrival;
  }

 private:
  const double rate_;
  const bool poisson_;
  const LengthRange prompt_tokens_, max_tokens_;
  Rng gaps_, prompt_lengths_, output_lengths_;
  ArrivalDecorator decorator_;
  double gap_sum_ = 0;
  int64_t next_ = 0;
};

}  // namespace

std::unique_ptr<Workload> MakeSyntheticWorkload(const BenchOptions& options, double rate, int run) {
  return std::make_unique<SyntheticWorkload>(options, rate, run);
}

ArrivalDecorator::ArrivalDecorator(const BenchOptions& options, int run)
    : num_tenants_(static_cast<int64_t>(options.tenants.names.size())),
      cancel_fraction_(options.cancel_fraction),
      cancel_after_(options.cancel_after.value_or(DurationRange())),
      tenant_draws_(MakeRng(options.seed, run, kTenants)),
      cancel_draws_(MakeRng(options.seed, run, kCancels)) {}

void ArrivalDecorator::Decorate(Arrival* arrival) {
  if (num_tenants_ > 0) arrival->tenant = tenant_draws_.InRange(0, num_tenants_ - 1);
  // Both are always drawn, so that the fraction does not move the times.
  const bool cancel = cancel_draws_.Uniform() < cancel_fraction_;
  const int64_t after = cancel_draws_.InRange(absl::ToInt64Nanoseconds(cancel_after_.low),
                                              absl::ToInt64Nanoseconds(cancel_after_.high));
  if (cancel) arrival->cancel_after_ns = after;
}

}  // namespace sieve
