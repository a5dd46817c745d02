#ifndef SIEVE_MODEL_CACHE_KV_CACHE_H_
#define SIEVE_MODEL_CACHE_KV_CACHE_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/block_summary.h"
#include "kernels/paged_attention_params.h"
#include "model/cache/geometry.h"

namespace sieve {

// The memory of the paged cache, in host memory: for each layer all pages' keys and values, then
// for each layer all pages' summary entries. Reserved at once; the system commits what is touched.
class KvCache {
 public:
  // RESOURCE_EXHAUSTED when the address space or memory for it cannot be had.
  static absl::StatusOr<std::unique_ptr<KvCache>> Create(const CacheGeometry& geometry,
                                                         int64_t num_pages);
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  const CacheGeometry& geometry() const { return geometry_; }
  int64_t num_pages() const { return num_pages_; }
  int64_t bytes() const { return num_pages_ * geometry_.BytesPerPage(); }

  PagedKvView Layer(int64_t layer) const;
  SummaryView Summaries(int64_t layer) const;
  // All layers' keys, values and summaries.
  void CopyPage(int64_t from, int64_t to);

 private:
  KvCache(const CacheGeometry& geometry, int64_t num_pages, char* memory);
  int64_t PageStride() const { return geometry_.num_kv_heads * 2 * geometry_.HeadBytes(); }
  int64_t SummaryStride() const { return geometry_.num_kv_heads * geometry_.summary_bytes; }

  const CacheGeometry geometry_;
  const int64_t num_pages_;
  char* const memory_;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CACHE_KV_CACHE_H_
