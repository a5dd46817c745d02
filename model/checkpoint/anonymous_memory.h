#ifndef SIEVE_MODEL_CHECKPOINT_ANONYMOUS_MEMORY_H_
#define SIEVE_MODEL_CHECKPOINT_ANONYMOUS_MEMORY_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"

namespace sieve {

// Bytes that can be had without the system ending a process for memory: what is free or easily
// freed, and no more than the limit of the container.
int64_t AvailableMemory();

// Memory straight from the system, page-aligned and zero; given back on destruction. Large pages
// are not asked for: a mapped file has none, and finding them can take longer than filling them.
class AnonymousMemory {
 public:
  // RESOURCE_EXHAUSTED when that is more than AvailableMemory(): the system grants such sizes, and
  // ends the process when it writes to them. REQUIRES: bytes > 0.
  static absl::StatusOr<AnonymousMemory> Map(int64_t bytes);

  AnonymousMemory(AnonymousMemory&& other) noexcept;
  AnonymousMemory& operator=(AnonymousMemory&& other) noexcept;
  ~AnonymousMemory();

  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  AnonymousMemory(std::byte* data, int64_t bytes) : data_(data), bytes_(bytes) {}

  std::byte* data_;
  int64_t bytes_;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_ANONYMOUS_MEMORY_H_
