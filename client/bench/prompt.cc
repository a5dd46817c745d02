#include "client/bench/prompt.h"

#include <algorithm>

#include "client/bench/random.h"

namespace sieve {
namespace {

// Apart from each other, so that a block's tokens are never a request's own.
constexpr uint64_t kOwnTokens = 0x6f776e;
constexpr uint64_t kBlockTokens = 0x626c6f636b;

}  // namespace

void PromptMaker::Fill(const Arrival& arrival, v1::TokenIds* prompt) const {
  auto* ids = prompt->mutable_ids();
  ids->Clear();
  ids->Reserve(arrival.prompt_tokens);
  const auto add = [&](Rng rng, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      ids->AddAlreadyReserved(static_cast<int32_t>(rng.InRange(0, vocabulary_size_ - 1)));
    }
  };
  const uint64_t shared = MixBits(kBlockTokens + static_cast<uint64_t>(run_));
  int64_t left = arrival.prompt_tokens;
  for (const int64_t block : arrival.blocks) {
    const int64_t count = std::min<int64_t>(left, arrival.block_tokens);
    add(Rng(seed_ ^ shared, static_cast<uint64_t>(block)), count);
    left -= count;
  }
  const uint64_t own = MixBits(kOwnTokens + static_cast<uint64_t>(run_));
  add(Rng(seed_ ^ own, static_cast<uint64_t>(arrival.index)), left);
}

}  // namespace sieve
