#include "model/cache/kv_cache.h"

#include <sys/mman.h>

#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"

namespace sieve {

absl::StatusOr<std::unique_ptr<KvCache>> KvCache::Create(const CacheGeometry& geometry,
                                                         int64_t num_pages) {
  if (num_pages < 1 || num_pages > std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError(absl::StrCat("the cache needs 1 to 2^31-1 pages of ",
                                                   geometry.BytesPerPage(),
                                                   " bytes, but was given ", num_pages));
  }
  const int64_t bytes = num_pages * geometry.BytesPerPage();
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot reserve ", bytes,
                                                     " bytes for the key/value cache (", num_pages,
                                                     " pages): ", std::strerror(errno)));
  }
  return std::unique_ptr<KvCache>(new KvCache(geometry, num_pages, static_cast<char*>(memory)));
}

KvCache::KvCache(const CacheGeometry& geometry, int64_t num_pages, char* memory)
    : geometry_(geometry), num_pages_(num_pages), memory_(memory) {}

KvCache::~KvCache() { munmap(memory_, bytes()); }

PagedKvView KvCache::Layer(int64_t layer) const {
  return {.base = memory_ + layer * num_pages_ * PageStride(),
          .page_stride = PageStride(),
          .head_stride = 2 * geometry_.HeadBytes(),
          .dtype = geometry_.dtype,
          .head_dim = geometry_.head_dim};
}

SummaryView KvCache::Summaries(int64_t layer) const {
  char* summaries = memory_ + geometry_.num_layers * num_pages_ * PageStride();
  return {.base = summaries + layer * num_pages_ * SummaryStride(),
          .page_stride = SummaryStride(),
          .head_stride = geometry_.summary_bytes};
}

void KvCache::CopyPage(int64_t from, int64_t to) {
  for (int64_t layer = 0; layer < geometry_.num_layers; ++layer) {
    const PagedKvView view = Layer(layer);
    std::memcpy(view.keys(to, 0), view.keys(from, 0), PageStride());
    const SummaryView summaries = Summaries(layer);
    std::memcpy(summaries.of(to, 0), summaries.of(from, 0), SummaryStride());
  }
}

}  // namespace sieve
