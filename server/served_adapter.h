#ifndef SIEVE_SERVER_SERVED_ADAPTER_H_
#define SIEVE_SERVER_SERVED_ADAPTER_H_

#include <cstdint>
#include <string>

#include "model/cache/prefix_hash.h"

namespace sieve {

// An adapter that the model holds. Requests hold it in shared pointers: its slot is given to no
// other adapter before the last of them is gone.
struct ServedAdapter {
  std::string name;
  int32_t slot = 0;
  int64_t query_tile = 1;
  PrefixHash cache_root{};  // of its digest: the root of its chains in the cache
};

}  // namespace sieve

#endif  // SIEVE_SERVER_SERVED_ADAPTER_H_
