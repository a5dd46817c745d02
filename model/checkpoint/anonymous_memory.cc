#include "model/checkpoint/anonymous_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace sieve {
namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

// The kernel's estimate; the whole memory where it gives none.
int64_t SystemMemory() {
  std::ifstream file("/proc/meminfo");
  std::string name, unit;
  int64_t kib = 0;
  while (file >> name >> kib) {
    if (name == "MemAvailable:") return kib << 10;
    std::getline(file, unit);
  }
  return static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
}

// Of the control group that we are in, as it shows in a container; "max" is no number.
int64_t ContainerLimit() {
  for (const char* path :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    int64_t limit = 0;
    if (std::ifstream(path) >> limit && limit > 0) return limit;
  }
  return kNoLimit;
}

std::string Gib(int64_t bytes) {
  return absl::StrFormat("%.1f GiB", static_cast<double>(bytes) / (1 << 30));
}

}  // namespace

int64_t AvailableMemory() { return std::min(SystemMemory(), ContainerLimit()); }

absl::StatusOr<AnonymousMemory> AnonymousMemory::Map(int64_t bytes) {
  const int64_t available = AvailableMemory();
  if (bytes > available) {
    return absl::ResourceExhaustedError(
        absl::StrCat(Gib(bytes), " of memory are needed, ", Gib(available), " are available"));
  }
  void* data = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat(Gib(bytes), " of memory are needed, which the system does not give"));
  }
  return AnonymousMemory(static_cast<std::byte*>(data), bytes);
}

AnonymousMemory::AnonymousMemory(AnonymousMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

AnonymousMemory& AnonymousMemory::operator=(AnonymousMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

AnonymousMemory::~AnonymousMemory() {
  if (data_ != nullptr) munmap(data_, static_cast<size_t>(bytes_));
}

}  // namespace sieve
