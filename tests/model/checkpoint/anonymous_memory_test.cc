#include "model/checkpoint/anonymous_memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <utility>

namespace sieve {
namespace {

TEST(AnonymousMemoryTest, IsZeroAndOurs) {
  constexpr int64_t kBytes = 3 << 20;
  auto memory = AnonymousMemory::Map(kBytes);
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_EQ(memory->bytes(), kBytes);
  EXPECT_TRUE(std::all_of(memory->data(), memory->data() + kBytes,
                          [](std::byte b) { return b == std::byte{0}; }));
  std::fill_n(memory->data(), kBytes, std::byte{7});
  AnonymousMemory moved = *std::move(memory);
  EXPECT_EQ(moved.data()[kBytes - 1], std::byte{7});
  auto other = AnonymousMemory::Map(1);
  ASSERT_TRUE(other.ok()) << other.status();
  *other = std::move(moved);
  EXPECT_EQ(other->bytes(), kBytes);
  EXPECT_EQ(other->data()[0], std::byte{7});
}

// Pages of the process's address space.
int64_t MappedPages() {
  int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages;
}

TEST(AnonymousMemoryTest, IsGivenBack) {
  constexpr int64_t kBytes = 64 << 20;
  const int64_t pages = kBytes / sysconf(_SC_PAGESIZE);
  const int64_t before = MappedPages();
  {
    auto memory = AnonymousMemory::Map(kBytes);
    ASSERT_TRUE(memory.ok()) << memory.status();
    EXPECT_GE(MappedPages(), before + pages);
    auto other = AnonymousMemory::Map(kBytes);
    ASSERT_TRUE(other.ok()) << other.status();
    *other = *std::move(memory);
  }
  EXPECT_LT(MappedPages(), before + pages);
}

TEST(AnonymousMemoryTest, TooMuchIsAnError) {
  for (const int64_t bytes : {AvailableMemory() + (int64_t{64} << 30), int64_t{1} << 62}) {
    const absl::Status status = AnonymousMemory::Map(bytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_NE(std::string(status.message()).find("GiB are available"), std::string::npos) << status;
  }
}

TEST(AnonymousMemoryTest, SomeIsAvailable) {
  EXPECT_GT(AvailableMemory(), 1 << 20);
  EXPECT_LT(AvailableMemory(), int64_t{1} << 50);
}

}  // namespace
}  // namespace sieve
