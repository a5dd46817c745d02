// What clients send takes a bounded amount of memory while it is received.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/generic/generic_stub.h"
#include "gtest/gtest.h"
#include "tests/server/fake_engine.h"
#include "tests/server/service_harness.h"

namespace sieve {
namespace {

constexpr int64_t kMiB = 1 << 20;

int64_t ResidentBytes() {
  int64_t size = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> size >> resident;
  return resident * 4096;
}

// Sends one message of zeros, which takes no memory in this process but the server's.
void SendZeros(const ServiceHarness& service, const std::string& zeros) {
  grpc::GenericStub stub(service.NewChannel());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  grpc::CompletionQueue queue;
  const grpc::Slice slice(zeros.data(), zeros.size(), grpc::Slice::STATIC_SLICE);
  const grpc::ByteBuffer message(&slice, 1);
  const auto call =
      stub.PrepareUnaryCall(&context, "/sieve.v1.Generation/Generate", message, &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_FALSE(status.ok());
}

TEST(ReceiveQuotaTest, ManyLargeMessagesAtOnceTakeBoundedMemory) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep memory that was freed";
#endif
  FakeEngine engine;
  HarnessOptions options;
  options.grpc.receive_bytes = 32 * kMiB;
  const ServiceHarness service(&engine, TestModel(1000), std::move(options));
  const std::string zeros(64 * kMiB, '\0');
  const int64_t before = ResidentBytes();

  std::atomic<bool> done = false;
  std::atomic<int64_t> most = 0;
  std::thread watch([&] {
    while (!done) {
      most = std::max(most.load(), ResidentBytes() - before);
      absl::SleepFor(absl::Milliseconds(1));
    }
  });
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i) clients.emplace_back([&] { SendZeros(service, zeros); });
  for (std::thread& client : clients) client.join();
  done = true;
  watch.join();
  RecordProperty("most_mib", static_cast<int>(most / kMiB));
  std::cout << "at most " << most / kMiB << " MiB for 8 messages of 64 MiB\n";
  // Without the quota it is more than 400.
  EXPECT_LT(most, 256 * kMiB);

  grpc::ClientContext context;
  v1::GetModelResponse response;
  EXPECT_TRUE(service.client().GetModel(&context, {}, &response).ok()) << "and it goes on";
}

}  // namespace
}  // namespace sieve
