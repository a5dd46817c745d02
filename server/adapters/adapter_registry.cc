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
#include "model/adapter/parameter_report.h"
#include "model/language_model.h"
#include "server/field_checks.h"
#include "server/worker_pool.h"

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

// The places of the model, and the memory of what is in them.
class AdapterRegistry::Slots : public std::enable_shared_from_this<Slots> {
 public:
  Slots(Engine* engine, int64_t max_bytes) : engine_(engine), max_bytes_(max_bytes) {
    for (int32_t slot = kAdapterSlots - 1; slot >= 0; --slot) free_.push_back(slot);
  }

  // RESOURCE_EXHAUSTED when none is left, or too little memory.
  absl::StatusOr<int32_t> Take(int64_t bytes) {
    std::lock_guard lock(mutex_);
    if (free_.empty()) {
      return absl::ResourceExhaustedError(
          absl::StrCat("all ", kAdapterSlots, " adapters that there can be are loaded or in use"));
    }
    if (max_bytes_ > 0 && bytes > max_bytes_ - bytes_) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "its weights take ", bytes, " bytes; of the ", max_bytes_, " that all may take, ", bytes_,
          " are taken by those that are loaded or in use: unload some, or start the server with "
          "more --max_adapter_mb"));
    }
    bytes_ += bytes;
    const int32_t slot = free_.back();
    free_.pop_back();
    return slot;
  }

  void Return(int32_t slot, int64_t bytes) {
    std::lock_guard lock(mutex_);
    free_.push_back(slot);
    bytes_ -= bytes;
  }

  // The last who held its adapter is gone. The weights, null where the model has a copy of its own,
  // go on a thread of their own: giving back hundreds of megabytes takes the time of a few steps.
  void Empty(int32_t slot, int64_t bytes, std::shared_ptr<const Adapter> weights) {
    std::lock_guard lock(engine_mutex_);
    if (engine_ == nullptr) return;
    engine_->SetAdapter(
        slot, nullptr,
        [self = shared_from_this(), slot, bytes,
         weights = std::move(weights)](const absl::Status& done) mutable {
          self->remains_.Add([weights = std::move(weights)]() mutable { weights.reset(); });
          // Also where it failed: the next adapter takes the place of the one that is still there.
          if (!absl::IsUnavailable(done)) self->Return(slot, bytes);
        });
  }

  void ForgetEngine() {
    std::lock_guard lock(engine_mutex_);
    engine_ = nullptr;
  }

 private:
  std::mutex engine_mutex_;  // held while the engine is called; guards the next
  Engine* engine_;
  const int64_t max_bytes_;
  std::mutex mutex_;  // guards the next
  std::vector<int32_t> free_;
  int64_t bytes_ = 0;  // of those that are not free
  WorkerPool remains_{1};
};

AdapterRegistry::AdapterRegistry(AdapterRegistryOptions options, Engine* engine)
    : options_(std::move(options)),
      engine_(engine),
      slots_(std::make_shared<Slots>(engine, options_.max_bytes)) {}

AdapterRegistry::~AdapterRegistry() { slots_->ForgetEngine(); }

absl::StatusOr<AdapterInfo> AdapterRegistry::Load(const std::string& name, const std::string& dir) {
  return LoadOpened(name, AdapterDir::Open(dir));
}

absl::StatusOr<AdapterInfo> AdapterRegistry::LoadFrom(const std::string& root,
                                                      const std::string& folder,
                                                      const std::string& name) {
  return LoadOpened(name, AdapterDir::OpenIn(root, folder));
}

absl::StatusOr<AdapterInfo> AdapterRegistry::LoadOpened(const std::string& name,
                                                        const absl::StatusOr<AdapterDir>& dir) {
  if (!IsAdapterName(name)) {
    return absl::InvalidArgumentError(
        absl::StrCat("an adapter's name is ", Quoted(name), "; expected ", kAdapterNameRule));
  }
  if (!dir.ok()) return Annotate(name, dir.status());
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
  AdapterInfo info;
  absl::StatusOr<std::shared_ptr<const ServedAdapter>> served = Serve(name, *dir, &info);
  if (!served.ok()) return Annotate(name, served.status());
  std::move(forget).Cancel();
  info.load_time = absl::Now() - start;

  std::lock_guard lock(mutex_);
  Entry& entry = entries_.at(name);
  entry.served = *std::move(served);
  entry.info = std::move(info);
  return InfoOf(entry);
}

// Checks it before its tensors, which may be large, are read, and again when they are.
absl::StatusOr<std::shared_ptr<const ServedAdapter>> AdapterRegistry::Serve(const std::string& name,
                                                                            const AdapterDir& dir,
                                                                            AdapterInfo* info) {
  const absl::StatusOr<AdapterConfig> config = ReadConfig(dir);
  if (!config.ok()) return config.status();
  const int64_t parameters = CountParameters(*config, 0).sum.total();
  const int64_t bytes = parameters * static_cast<int64_t>(sizeof(float));
  const absl::StatusOr<int32_t> slot = slots_->Take(bytes);
  if (!slot.ok()) return slot.status();
  absl::Cleanup give_back = [&] { slots_->Return(*slot, bytes); };
  absl::StatusOr<Adapter> read = dir.Read();
  if (!read.ok()) return read.status();
  absl::Status status = CheckServable(read->config);
  if (status.ok() && CountParameters(read->config, 0).sum.total() != parameters) {
    status = absl::UnavailableError("its files changed while they were read; try again");
  }
  if (!status.ok()) return status;
  const auto adapter = std::make_shared<const Adapter>(*std::move(read));
  if (status = Give(*slot, adapter); !status.ok()) return status;
  std::move(give_back).Cancel();

  info->name = name;
  info->config = adapter->config;
  info->digest = adapter->digest;
  info->parameters = parameters;
  info->summary = PartsOf(SummaryLayoutOf(adapter->config, options_.cache.dtype));
  ServedAdapter served{.name = name,
                       .slot = *slot,
                       .query_tile = adapter->config.query_tile,
                       .cache_root = RootOf(adapter->digest),
                       .counter = CacheReadCounter(options_.cache, adapter->config)};
  {
    std::lock_guard lock(mutex_);
    served.requests = requests_.try_emplace(name, served.requests).first->second;
  }
  // To be freed off the engine's thread, where the model computes with it. A GPU's model has copied
  // what it needs: the weights would stay in host memory for nothing.
  auto weights = adapter.use_count() > 1 ? adapter : nullptr;
  return std::shared_ptr<const ServedAdapter>(
      new ServedAdapter(std::move(served)),
      [slots = slots_, bytes, weights = std::move(weights)](const ServedAdapter* gone) mutable {
        slots->Empty(gone->slot, bytes, std::move(weights));
        delete gone;
      });
}

absl::StatusOr<AdapterConfig> AdapterRegistry::ReadConfig(const AdapterDir& dir) {
  std::call_once(digest_once_, [this] { base_digest_ = options_.base_digest(); });
  absl::StatusOr<AdapterConfig> config = dir.ReadConfig();
  if (!config.ok()) return config.status();
  if (absl::Status status = CheckServable(*config); !status.ok()) return status;
  return config;
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
  if (found != entries_.end() && found->second.served != nullptr) return found->second.served;
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
  info.requests = entry.served->requests->load(std::memory_order_relaxed);
  info.reads = entry.served->reads->Get();
  info.sparse_density = entry.served->counter.SparseDensity(info.reads);
  info.open_requests = entry.served.use_count() - 1;  // but for the registry's own
  return info;
}

}  // namespace sieve
