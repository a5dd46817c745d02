#include "trainer/without_exceptions.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <new>
#include <stdexcept>

#include "absl/strings/match.h"

namespace sieve {
namespace {

TEST(WithoutExceptionsTest, AStatusIsAsItWas) {
  EXPECT_TRUE(WithoutExceptions([] { return absl::OkStatus(); }).ok());
  EXPECT_EQ(WithoutExceptions([] { return absl::CancelledError("stopped"); }),
            absl::CancelledError("stopped"));
}

TEST(WithoutExceptionsTest, TheFirstLineIsKept) {
  EXPECT_EQ(WithoutExceptions([]() -> absl::Status {
              throw std::runtime_error("shapes differ\nframe #0: a\nframe #1: b");
            }),
            absl::InternalError("shapes differ"));
  const absl::Status status = WithoutExceptions([]() -> absl::Status {
    std::filesystem::create_directory("/no/such/folder");
    return absl::OkStatus();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(absl::StrContains(status.message(), "/no/such/folder")) << status;
}

TEST(WithoutExceptionsTest, WithoutMemoryItSaysWhatUsesLess) {
  const auto check = [](const absl::Status& status) {
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), "sequences_at_once")) << status;
    EXPECT_FALSE(absl::StrContains(status.message(), "frame")) << status;
  };
  check(WithoutExceptions([]() -> absl::Status { throw std::bad_alloc(); }));
  // As LibTorch's allocators say it.
  for (const char* text : {"CUDA out of memory. Tried to allocate 2.00 GiB.\nframe #0",
                           "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: "
                           "can't allocate memory: you tried to allocate 9 bytes.\nframe #0"}) {
    check(WithoutExceptions([text]() -> absl::Status { throw std::runtime_error(text); }));
  }
}

}  // namespace
}  // namespace sieve
