#include "server/adapters/adapter_registry.h"

#include <algorithm>
#include <future>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "model/adapter/adapter_file.h"
#include "model/adapter/parameter_report.h"
#include "model/language_model.h"
#include "server/field_checks.h"

namespace sieve {
namespace {

// Of a digest of 64 hex digits.
PrefixHash RootOf(const std::string& digest) {
  const std::string bytes = absl::HexStringToBytes(digest);
  PrefixHash root;
  for (size_t i = 0; i < 8; ++i) {
    root.low = root.low << 8 | static_cast<unsigned char>(bytes[i]);
    root.high = root.high << 8 | static_cast<unsigned char>(bytes[8 + i]);
  }
  return root;
}

absl::Status Annotate(const std::string& name, const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat("adapter ", Quoted(name), ": ", status.message()));
}

}  // namespace

bool IsAdapterName(absl::string_view name) {
  return !name.empty() && name.size() <= 64 && name[0] != '.' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
         });
}

struct AdapterRegistry::Slots : std::enable_shared_from_this<Slots> {
  explicit Slots(Engine* engine) : engine(engine) {
    for (int32_t slot = kAdapterSlots - 1; slot >= 0; --slot) free.push_back(slot);
  }

  // -1: none is left.
  int32_t Take() {
    std::lock_guard lock(mutex);
    if (free.empty()) return -1;
    const int32_t slot = free.back();
    free.pop_back();
    return slot;
  }

  void Return(int32_t slot) {
    std::lock_guard lock(mutex);
    free.push_back(slot);
  }

  // The last who held its adapter is gone.
  void Empty(int32_t slot) {
    std::lock_guard lock(engine_mutex);
    if (engine == nullptr) return;
    engine->SetAdapter(slot, nullptr, [self = shared_from_this(), slot](const absl::Status& done) {
      if (done.ok()) self->Return(slot);
    });
  }

  void ForgetEngine() {
    std::lock_guard lock(engine_mutex);
    engine = nullptr;
  }

  std::mutex engine_mutex;  // held while the engine is called; guards the next
  Engine* engine;
  std::mutex mutex;  // guards the next
  std::vector<int32_t> free;
};

AdapterRegistry::AdapterRegistry(AdapterRegistryOptions options, Engine* engine)
    : options_(std::move(options)), engine_(engine), slots_(std::make_shared<Slots>(engine)) {}

AdapterRegistry::~AdapterRegistry() { slots_->ForgetEngine(); }

absl::StatusOr<AdapterInfo> AdapterRegistry::Load(const std::string& name, const std::string& dir) {
  if (!IsAdapterName(name)) {
    return absl::InvalidArgumentError(
        absl::StrCat("an adapter's name is ", Quoted(name), "; expected ", kAdapterNameRule));
  }
  {
    std::lock_guard lock(mutex_);
    if (!entries_.try_emplace(name).second) {
      return absl::AlreadyExistsError(
          absl::StrCat("adapter ", Quoted(name), " is loaded, or being loaded, already"));
    }
  }
  absl::Cleanup forget = [&] {
    std::lock_guard lock(mutex_);
    entries_.erase(name);
  };
  const absl::Time start = absl::Now();
  const absl::StatusOr<std::shared_ptr<const Adapter>> adapter = Open(dir);
  if (!adapter.ok()) return Annotate(name, adapter.status());
  absl::StatusOr<std::shared_ptr<const ServedAdapter>> served = Serve(name, *adapter);
  if (!served.ok()) return Annotate(name, served.status());
  std::move(forget).Cancel();

  std::lock_guard lock(mutex_);
  Entry& entry = entries_.at(name);
  entry.served = *std::move(served);
  entry.info.name = name;
  entry.info.config = (*adapter)->config;
  entry.info.digest = (*adapter)->digest;
  entry.info.parameters = CountParameters((*adapter)->config, 0).sum.total();
  entry.info.summary = PartsOf(SummaryLayoutOf((*adapter)->config, options_.cache.dtype));
  entry.info.load_time = absl::Now() - start;
  return InfoOf(entry);
}

absl::StatusOr<std::shared_ptr<const Adapter>> AdapterRegistry::Open(const std::string& dir) {
  std::call_once(digest_once_, [this] { base_digest_ = options_.base_digest(); });
  // Before its tensors, which may be large, are read, and again when they are.
  const absl::StatusOr<AdapterConfig> config = ReadAdapterConfig(dir);
  if (!config.ok()) return config.status();
  if (absl::Status status = CheckServable(*config); !status.ok()) return status;
  absl::StatusOr<Adapter> adapter = OpenAdapter(dir);
  if (!adapter.ok()) return adapter.status();
  if (absl::Status status = CheckServable(adapter->config); !status.ok()) return status;
  return std::make_shared<const Adapter>(*std::move(adapter));
}

absl::Status AdapterRegistry::CheckServable(const AdapterConfig& config) const {
  absl::Status status = CheckAdapterFits(config, options_.model, base_digest_);
  if (!status.ok()) return status;
  if (config.query_tile > options_.max_query_tile) {
    return absl::FailedPreconditionError(
        absl::StrCat("its query_tile is ", config.query_tile,
                     "; a step must hold that many tokens beside those of all running samples: "
                     "start the server with more --max_step_tokens, or fewer --max_running"));
  }
  return absl::OkStatus();
}

// Waits until the engine is between two steps.
absl::Status AdapterRegistry::Give(int32_t slot, std::shared_ptr<const Adapter> adapter) {
  std::promise<absl::Status> answer;
  engine_->SetAdapter(slot, std::move(adapter),
                      [&answer](const absl::Status& status) { answer.set_value(status); });
  return answer.get_future().get();
}

absl::StatusOr<std::shared_ptr<const ServedAdapter>> AdapterRegistry::Serve(
    const std::string& name, std::shared_ptr<const Adapter> adapter) {
  ServedAdapter served{.name = name,
                       .slot = slots_->Take(),
                       .query_tile = adapter->config.query_tile,
                       .cache_root = RootOf(adapter->digest),
                       .counter = CacheReadCounter(options_.cache, adapter->config)};
  if (served.slot < 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("all ", kAdapterSlots, " adapters that there can be are loaded or in use"));
  }
  if (absl::Status status = Give(served.slot, std::move(adapter)); !status.ok()) {
    slots_->Return(served.slot);
    return status;
  }
  return std::shared_ptr<const ServedAdapter>(new ServedAdapter(std::move(served)),
                                              [slots = slots_](const ServedAdapter* gone) {
                                                slots->Empty(gone->slot);
                                                delete gone;
                                              });
}

absl::Status AdapterRegistry::Unload(absl::string_view name) {
  std::shared_ptr<const ServedAdapter> served;  // let go when the lock is
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(name);
  if (found == entries_.end() || found->second.served == nullptr) {
    return absl::NotFoundError(absl::StrCat("no adapter ", Quoted(name), " is loaded"));
  }
  served = std::move(found->second.served);
  entries_.erase(found);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const ServedAdapter>> AdapterRegistry::Find(
    absl::string_view name) const {
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(name);
  if (found != entries_.end() && found->second.served != nullptr) {
    ++requests_[found->first];
    return found->second.served;
  }
  // As many as a status message has room for.
  constexpr size_t kNames = 10;
  std::vector<std::string> names;
  for (const auto& [other, entry] : entries_) {
    if (entry.served == nullptr) continue;
    names.push_back(names.size() < kNames ? other : "...");
    if (names.size() > kNames) break;
  }
  return absl::NotFoundError(absl::StrCat(
      "no adapter ", Quoted(name), " is loaded; ",
      names.empty() ? "there is none" : absl::StrCat("there are: ", absl::StrJoin(names, ", "))));
}

std::vector<AdapterInfo> AdapterRegistry::List() const {
  std::lock_guard lock(mutex_);
  std::vector<AdapterInfo> list;
  for (const auto& [name, entry] : entries_) {
    if (entry.served != nullptr) list.push_back(InfoOf(entry));
  }
  return list;
}

// REQUIRES: mutex_ is held.
AdapterInfo AdapterRegistry::InfoOf(const Entry& entry) const {
  AdapterInfo info = entry.info;
  const auto requests = requests_.find(info.name);
  if (requests != requests_.end()) info.requests = requests->second;
  info.reads = entry.served->reads->Get();
  info.sparse_density = entry.served->counter.SparseDensity(info.reads);
  info.open_requests = entry.served.use_count() - 1;  // but for the registry's own
  return info;
}

}  // namespace sieve
