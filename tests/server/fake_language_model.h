#ifndef SIEVE_TESTS_SERVER_FAKE_LANGUAGE_MODEL_H_
#define SIEVE_TESTS_SERVER_FAKE_LANGUAGE_MODEL_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "model/adapter/adapter.h"
#include "model/cache/geometry.h"
#include "model/language_model.h"
#include "tests/server/ahead_step_runner.h"

namespace sieve {

// A model whose logits are a hash of the tokens that it finds in its own paged memory through the
// block tables. A wrong block table, a missing copy-on-write, a page handed out twice or a wrong
// prefix hit gives other tokens than the sequence run alone, or an error() at once; so does a page
// that was written with another adapter, whose digest is part of the hash. Where
// SIEVE_STEPS_AHEAD is defined it runs its steps like a device, one ahead of the engine.
class FakeLanguageModel : public LanguageModel {
 public:
  // Runs in every Forward, before it returns: may change the logits, fail, or wait.
  using Hook = std::function<absl::Status(const Batch& batch, absl::Span<float> logits)>;

  FakeLanguageModel(int64_t vocabulary_size, int64_t num_pages)
      : vocabulary_size_(vocabulary_size), pages_(num_pages), writers_(num_pages) {
    for (Page& page : pages_) page.fill(kUnwritten);
#ifdef SIEVE_STEPS_AHEAD
    RunAhead();
#endif
  }

  // Before there is an engine.
  void RunAhead() { runner_ = std::make_unique<AheadStepRunner>(this); }
  StepRunner* step_runner() override { return runner_.get(); }

  int64_t vocabulary_size() const override { return vocabulary_size_; }
  int64_t num_pages() const override { return pages_.size(); }

  void CopyPages(absl::Span<const PageCopy> copies) override {
    for (const PageCopy& copy : copies) {
      pages_.at(copy.to) = pages_.at(copy.from);
      writers_.at(copy.to) = writers_.at(copy.from);
    }
  }

  absl::Status SetAdapter(int32_t slot, std::shared_ptr<const Adapter> adapter) override {
    if (runner_ != nullptr && runner_->in_flight() > 0) Complain("an adapter came within a step");
    if (adapter != nullptr && adapter->config.query_tile == refused_tile_) {
      return absl::InvalidArgumentError("the fake does not compute such tiles");
    }
    std::lock_guard lock(mutex_);
    if (adapter == nullptr && fail_emptying_) throw std::bad_alloc();
    adapters_.resize(kAdapterSlots);
    const bool emptied = adapter == nullptr;
    if (copies_adapters_ && adapter != nullptr) {
      given_ = adapter;
      adapter = std::make_shared<const Adapter>(*adapter);
    }
    adapters_.at(slot) = std::move(adapter);
    if (emptied && on_emptied_) on_emptied_();
    return absl::OkStatus();
  }
  // Runs when a slot was emptied.
  void set_on_emptied(std::function<void()> on_emptied) {
    std::lock_guard lock(mutex_);
    on_emptied_ = std::move(on_emptied);
  }
  std::shared_ptr<const Adapter> adapter(int32_t slot) const {
    std::lock_guard lock(mutex_);
    return adapters_.at(slot);
  }
  // Keeps a copy of each adapter that it is given from now on, as a GPU's model does.
  void set_copies_adapters() {
    std::lock_guard lock(mutex_);
    copies_adapters_ = true;
  }
  // The last that it copied; null when nobody holds it any more.
  std::shared_ptr<const Adapter> given() const {
    std::lock_guard lock(mutex_);
    return given_.lock();
  }
  // SetAdapter throws where a slot is to be emptied.
  void set_fail_emptying(bool fail) {
    std::lock_guard lock(mutex_);
    fail_emptying_ = fail;
  }
  // SetAdapter fails for it.
  void set_refused_tile(int64_t tile) { refused_tile_ = tile; }
  int64_t num_adapters() const {
    std::lock_guard lock(mutex_);
    return adapters_.size() - std::count(adapters_.begin(), adapters_.end(), nullptr);
  }

  absl::Status Forward(const Batch& batch, absl::Span<float> logits) override {
    std::set<std::pair<int32_t, int32_t>> written;  // page, place
    for (int64_t s = 0; s + 1 < batch.offsets.size(); ++s) Write(batch, s, &written);
    for (int64_t r = 0; r < batch.logit_rows.size(); ++r) {
      const uint64_t history = HashHistory(batch, batch.logit_rows[r]);
      for (int64_t v = 0; v < vocabulary_size_; ++v) {
        logits[r * vocabulary_size_ + v] = (Mix(history ^ v) >> 40) * (8.0f / (1 << 24)) - 4;
      }
    }
    Hook hook;
    {
      std::lock_guard lock(mutex_);
      ++steps_;
      hook = hook_;
    }
    return hook ? hook(batch, logits) : absl::OkStatus();
  }

  void set_hook(Hook hook) {
    std::lock_guard lock(mutex_);
    hook_ = std::move(hook);
  }
  int64_t steps() const {
    std::lock_guard lock(mutex_);
    return steps_;
  }
  // The first thing that a caller did wrong; empty when nothing.
  std::string error() const {
    std::lock_guard lock(mutex_);
    return error_;
  }

 private:
  using Page = std::array<int32_t, kPageTokens>;
  static constexpr int32_t kUnwritten = -1;

  static uint64_t Mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
  }

  int32_t PageOf(const Batch& batch, int64_t sequence, int64_t position) const {
    return batch.block_tables[sequence * batch.block_table_stride + position / kPageTokens];
  }

  void Write(const Batch& batch, int64_t s, std::set<std::pair<int32_t, int32_t>>* written) {
    for (int32_t t = batch.offsets[s]; t < batch.offsets[s + 1]; ++t) {
      const int32_t position = batch.positions[t];
      if (position != batch.positions[batch.offsets[s]] + t - batch.offsets[s]) {
        Complain(absl::StrCat("positions of sequence ", s, " are not consecutive"));
      }
      const int32_t page = PageOf(batch, s, position);
      const int32_t place = position % kPageTokens;
      if (!written->insert({page, place}).second) {
        Complain(absl::StrCat("page ", page, " is written twice in one step"));
      }
      pages_.at(page)[place] = batch.tokens[t];
      writers_.at(page) = DigestOf(batch, s);
    }
  }

  uint64_t HashHistory(const Batch& batch, int32_t row) {
    int64_t s = 0;
    while (batch.offsets[s + 1] <= row) ++s;
    const std::string digest = DigestOf(batch, s);
    uint64_t hash = digest.empty() ? 0 : std::hash<std::string>()(digest);
    for (int64_t position = 0; position <= batch.positions[row]; ++position) {
      const int32_t token = pages_.at(PageOf(batch, s, position))[position % kPageTokens];
      if (token == kUnwritten) Complain(absl::StrCat("position ", position, " was never written"));
      if (writers_.at(PageOf(batch, s, position)) != digest) {
        Complain(absl::StrCat("position ", position, " was written with another adapter"));
      }
      hash = Mix(hash ^ static_cast<uint32_t>(token));
    }
    return hash;
  }

  // Of the sequence's adapter; empty for the base model.
  std::string DigestOf(const Batch& batch, int64_t s) {
    if (batch.adapter(s) < 0) return "";
    std::lock_guard lock(mutex_);
    const std::shared_ptr<const Adapter> adapter =
        batch.adapter(s) < static_cast<int64_t>(adapters_.size()) ? adapters_[batch.adapter(s)]
                                                                  : nullptr;
    if (adapter != nullptr) return adapter->digest;
    if (error_.empty()) error_ = absl::StrCat("no adapter is in slot ", batch.adapter(s));
    return "?";
  }

  void Complain(std::string error) {
    std::lock_guard lock(mutex_);
    if (error_.empty()) error_ = std::move(error);
  }

  const int64_t vocabulary_size_;
  std::vector<Page> pages_;
  std::vector<std::string> writers_;  // of each page: its adapter's digest
  int64_t refused_tile_ = 0;
  std::unique_ptr<AheadStepRunner> runner_;               // null: the engine's own
  mutable std::mutex mutex_;                              // guards all below
  std::vector<std::shared_ptr<const Adapter>> adapters_;  // by slot
  bool copies_adapters_ = false;
  std::weak_ptr<const Adapter> given_;
  bool fail_emptying_ = false;
  std::function<void()> on_emptied_;
  Hook hook_;
  int64_t steps_ = 0;
  std::string error_;
};

}  // namespace sieve

#endif  // SIEVE_TESTS_SERVER_FAKE_LANGUAGE_MODEL_H_
