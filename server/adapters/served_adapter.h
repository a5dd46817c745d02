#ifndef SIEVE_SERVER_ADAPTERS_SERVED_ADAPTER_H_
#define SIEVE_SERVER_ADAPTERS_SERVED_ADAPTER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "model/attention/cache_reads.h"
#include "model/cache/prefix_hash.h"

namespace sieve {

// An adapter that the model holds. Requests hold it in shared pointers: its slot is given to no
// other adapter before the last of them is gone.
struct ServedAdapter {
  std::string name;
  int32_t slot = 0;
  int64_t query_tile = 1;
  PrefixHash cache_root{};  // of its digest: the root of its chains in the cache
  CacheReadCounter counter{};
  // Requests that the engine took, which counts them; also of those before it under its name.
  std::shared_ptr<std::atomic<int64_t>> requests = std::make_shared<std::atomic<int64_t>>(0);
  // What its requests read since it was loaded; the engine adds to it.
  std::unique_ptr<CacheReadTotals> reads = std::make_unique<CacheReadTotals>();
};

}  // namespace sieve

#endif  // SIEVE_SERVER_ADAPTERS_SERVED_ADAPTER_H_
