#ifndef SIEVE_SERVER_ADAPTERS_ADAPTER_REGISTRY_H_
#define SIEVE_SERVER_ADAPTERS_ADAPTER_REGISTRY_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "model/adapter/adapter.h"
#include "model/adapter/adapter_file.h"
#include "model/attention/cache_reads.h"
#include "model/attention/summary_layout.h"
#include "model/cache/geometry.h"
#include "model/config.h"
#include "server/adapters/served_adapter.h"
#include "server/engine.h"

namespace sieve {

inline constexpr char kAdapterNameRule[] = "1 to 64 of A-Z a-z 0-9 . _ -, the first no \".\"";
bool IsAdapterName(absl::string_view name);

// What is told of an adapter.
struct AdapterInfo {
  std::string name;
  AdapterConfig config;
  std::string digest;
  int64_t parameters = 0;
  SummaryParts summary;       // bytes that it keeps of a block, for each layer and key/value head
  CacheReads reads{};         // of its requests since it was loaded
  double sparse_density = 1;  // of them, in a layer that is not dense
  absl::Duration load_time{};
  int64_t requests = 0;       // that the engine took, under this name, since the start
  int64_t open_requests = 0;  // that hold it now
};

struct AdapterRegistryOptions {
  ModelConfig model;
  CacheGeometry cache{};
  std::function<std::string()> base_digest;  // of the model; called once, when first wanted
  // Largest query_tile for which the engine's steps have room.
  int64_t max_query_tile = 1;
  // Of the weights of all adapters that are loaded or still in use; 0: no limit.
  int64_t max_bytes = 0;
};

// The adapters that are served, by name. Thread-safe.
class AdapterRegistry {
 public:
  // `engine` is borrowed and outlives the registry.
  AdapterRegistry(AdapterRegistryOptions options, Engine* engine);
  ~AdapterRegistry();
  AdapterRegistry(const AdapterRegistry&) = delete;
  AdapterRegistry& operator=(const AdapterRegistry&) = delete;

  // Reads the adapter of a folder and gives it to the model; running requests go on meanwhile.
  // Returns when requests can ask for it. INVALID_ARGUMENT for a name that is none, ALREADY_EXISTS
  // for one that is there, RESOURCE_EXHAUSTED when the model has no slot left or the weights of all
  // would be too large; the errors of OpenAdapter, CheckAdapterFits and LanguageModel::SetAdapter.
  // Not on the engine's thread.
  absl::StatusOr<AdapterInfo> Load(const std::string& name, const std::string& dir);
  // The same of a folder within `root`; see AdapterDir::OpenIn.
  absl::StatusOr<AdapterInfo> LoadFrom(const std::string& root, const std::string& folder,
                                       const std::string& name);

  // No request can ask for it any more; those that have it keep it until they end. NOT_FOUND.
  absl::Status Unload(absl::string_view name);

  // The adapter for a request to hold. NOT_FOUND, with the names that there are.
  absl::StatusOr<std::shared_ptr<const ServedAdapter>> Find(absl::string_view name) const;

  std::vector<AdapterInfo> List() const;  // by name

 private:
  // Outlives the registry where requests still hold adapters.
  class Slots;
  struct Entry {
    std::shared_ptr<const ServedAdapter> served;  // null while it is being loaded
    AdapterInfo info;
  };

  absl::StatusOr<AdapterInfo> LoadOpened(const std::string& name,
                                         const absl::StatusOr<AdapterDir>& dir);
  absl::StatusOr<std::shared_ptr<const ServedAdapter>> Serve(const std::string& name,
                                                             const AdapterDir& dir,
                                                             AdapterInfo* info);
  absl::StatusOr<AdapterConfig> ReadConfig(const AdapterDir& dir);
  absl::Status CheckServable(const AdapterConfig& config) const;
  absl::Status Give(int32_t slot, std::shared_ptr<const Adapter> adapter);
  AdapterInfo InfoOf(const Entry& entry) const;

  const AdapterRegistryOptions options_;
  Engine* const engine_;
  const std::shared_ptr<Slots> slots_;
  std::once_flag digest_once_;
  std::string base_digest_;

  mutable std::mutex mutex_;  // guards all below
  std::map<std::string, Entry, std::less<>> entries_;
  // By name, also of those gone.
  std::map<std::string, std::shared_ptr<std::atomic<int64_t>>> requests_;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_ADAPTERS_ADAPTER_REGISTRY_H_
