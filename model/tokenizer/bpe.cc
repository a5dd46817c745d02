#include "model/tokenizer/bpe.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <queue>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/quoted.h"
#include "model/tokenizer/absl_view.h"

namespace sieve {
namespace {

constexpr uint32_t kNoRank = std::numeric_limits<uint32_t>::max();
// Up to here scanning all pairs for the lowest rank beats keeping a heap.
constexpr size_t kShortWord = 64;

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
}

bool Mergeable(const Vocabulary::Token& token) {
  return token.kind == Vocabulary::Kind::kNormal || token.kind == Vocabulary::Kind::kUserDefined;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Bpe>> Bpe::Create(const Vocabulary& vocabulary) {
  auto bpe = std::unique_ptr<Bpe>(new Bpe);
  absl::Status status = bpe->IndexTokens(vocabulary);
  if (!status.ok()) return status;
  status =
      vocabulary.merge_by_id ? bpe->AddMergesById(vocabulary) : bpe->AddListedMerges(vocabulary);
  if (!status.ok()) return status;
  if (!vocabulary.ignore_merges) bpe->KeepReachableWords();
  return bpe;
}

absl::Status Bpe::IndexTokens(const Vocabulary& vocabulary) {
  byte_tokens_.fill(-1);
  whole_words_.reserve(vocabulary.tokens.size());
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const Vocabulary::Token& token = vocabulary.tokens[id];
    if (!Mergeable(token)) continue;
    const auto [entry, inserted] = whole_words_.try_emplace(token.bytes, id);
    if (!inserted) {
      return absl::InvalidArgumentError(absl::StrCat("vocabulary: tokens ", entry->second, " and ",
                                                     id, " are both ", Quoted(token.bytes)));
    }
    if (token.bytes.size() == 1) byte_tokens_[static_cast<uint8_t>(token.bytes[0])] = id;
  }
  return absl::OkStatus();
}

absl::Status Bpe::AddListedMerges(const Vocabulary& vocabulary) {
  const int64_t size = vocabulary.tokens.size();
  merges_.reserve(vocabulary.merges.size());
  for (size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    const auto [left, right] = vocabulary.merges[rank];
    for (const int32_t id : {left, right}) {
      if (id < 0 || id >= size || !Mergeable(vocabulary.tokens[id])) {
        return absl::InvalidArgumentError(absl::StrCat("vocabulary: merge ", rank, " names token ",
                                                       id, ", which is no ordinary token"));
      }
    }
    const std::string bytes = vocabulary.tokens[left].bytes + vocabulary.tokens[right].bytes;
    const auto result = whole_words_.find(bytes);
    if (result == whole_words_.end()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "vocabulary: merge ", rank, " makes ", Quoted(bytes), ", which is no ordinary token"));
    }
    const absl::Status status =
        AddMerge(left, right, {static_cast<uint32_t>(rank), result->second});
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Bpe::AddMergesById(const Vocabulary& vocabulary) {
  if (!vocabulary.merges.empty()) {
    return absl::InvalidArgumentError("vocabulary: merges are listed although they go by id");
  }
  for (const auto& [bytes, id] : whole_words_) {
    for (size_t cut = 1; cut < bytes.size(); ++cut) {
      const auto left = whole_words_.find(bytes.substr(0, cut));
      if (left == whole_words_.end()) continue;
      const auto right = whole_words_.find(bytes.substr(cut));
      if (right == whole_words_.end()) continue;
      const absl::Status status =
          AddMerge(left->second, right->second, {static_cast<uint32_t>(id), id});
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

absl::Status Bpe::AddMerge(int32_t left, int32_t right, Merge merge) {
  if (merges_.try_emplace(PairKey(left, right), merge).second) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("vocabulary: merge ", merge.rank, " of tokens ",
                                                 left, " and ", right, " is listed twice"));
}

void Bpe::KeepReachableWords() {
  auto tokens = std::exchange(whole_words_, {});
  absl::erase_if(tokens, [this](const auto& token) {
    std::vector<int32_t> ids;
    EncodeWord({token.first.data(), token.first.size()}, &ids);
    return ids != std::vector<int32_t>{token.second};
  });
  whole_words_ = std::move(tokens);
}

Bpe::Merge Bpe::Find(int32_t left, int32_t right) const {
  const auto found = merges_.find(PairKey(left, right));
  return found == merges_.end() ? Merge{kNoRank, -1} : found->second;
}

void Bpe::EncodeWord(std::string_view word, std::vector<int32_t>* ids) const {
  const auto whole = whole_words_.find(AbslView(word));
  if (whole != whole_words_.end()) {
    ids->push_back(whole->second);
  } else if (word.size() <= kShortWord) {
    MergeShort(word, ids);
  } else {
    MergeLong(word, ids);
  }
}

void Bpe::MergeShort(std::string_view word, std::vector<int32_t>* ids) const {
  std::array<int32_t, kShortWord> symbols;
  std::array<uint32_t, kShortWord> ranks;   // of the pair that starts here
  std::array<int32_t, kShortWord> results;  // what that pair becomes
  int n = 0;
  for (const char c : word) {
    const int32_t id = byte_tokens_[static_cast<uint8_t>(c)];
    if (id >= 0) symbols[n++] = id;
  }
  const auto update = [&](int i) {
    const Merge merge = i + 1 < n ? Find(symbols[i], symbols[i + 1]) : Merge{kNoRank, -1};
    ranks[i] = merge.rank;
    results[i] = merge.result;
  };
  for (int i = 0; i < n; ++i) update(i);
  while (n > 1) {
    const int best = std::min_element(ranks.begin(), ranks.begin() + n) - ranks.begin();
    if (ranks[best] == kNoRank) break;
    symbols[best] = results[best];
    std::copy(symbols.begin() + best + 2, symbols.begin() + n, symbols.begin() + best + 1);
    std::copy(ranks.begin() + best + 2, ranks.begin() + n, ranks.begin() + best + 1);
    std::copy(results.begin() + best + 2, results.begin() + n, results.begin() + best + 1);
    --n;
    update(best);
    if (best > 0) update(best - 1);
  }
  ids->insert(ids->end(), symbols.begin(), symbols.begin() + n);
}

void Bpe::MergeLong(std::string_view word, std::vector<int32_t>* ids) const {
  struct Symbol {
    int32_t id;
    int32_t previous;
    int32_t next;
    Merge merge;  // with the next symbol
  };
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  for (const char c : word) {
    const int32_t id = byte_tokens_[static_cast<uint8_t>(c)];
    const int32_t i = symbols.size();
    if (id >= 0) symbols.push_back({id, i - 1, i + 1, {kNoRank, -1}});
  }
  const int32_t end = symbols.size();

  // Candidates as rank << 32 | position: the least is the lowest rank, leftmost. One whose symbols
  // have changed since no longer matches the rank at its position.
  std::vector<uint64_t> initial;
  const auto update = [&](int32_t i) {
    Symbol& symbol = symbols[i];
    symbol.merge =
        symbol.next < end ? Find(symbol.id, symbols[symbol.next].id) : Merge{kNoRank, -1};
    return static_cast<uint64_t>(symbol.merge.rank) << 32 | static_cast<uint32_t>(i);
  };
  const auto possible = [](uint64_t candidate) { return candidate >> 32 != kNoRank; };
  for (int32_t i = 0; i < end; ++i) {
    const uint64_t candidate = update(i);
    if (possible(candidate)) initial.push_back(candidate);
  }
  std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<>> queue(std::greater<>(),
                                                                             std::move(initial));
  while (!queue.empty()) {
    const uint64_t candidate = queue.top();
    queue.pop();
    const int32_t i = static_cast<int32_t>(candidate & 0xFFFFFFFFu);
    Symbol& symbol = symbols[i];
    if (symbol.merge.rank != candidate >> 32) continue;
    symbol.id = symbol.merge.result;
    symbols[symbol.next].merge.rank = kNoRank;
    symbol.next = symbols[symbol.next].next;
    if (symbol.next < end) symbols[symbol.next].previous = i;
    for (const int32_t changed : {symbol.previous, i}) {
      if (changed < 0) continue;
      const uint64_t next_candidate = update(changed);
      if (possible(next_candidate)) queue.push(next_candidate);
    }
  }
  for (int32_t i = 0; i < end; i = symbols[i].next) ids->push_back(symbols[i].id);
}

}  // namespace sieve
