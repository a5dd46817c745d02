// The main function of a cuda_test.

#include <string>

#include "cuda_runtime_api.h"
#include "gtest/gtest.h"

namespace {

// Why no device can be used, or nothing.
std::string NoDevice() {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error != cudaSuccess) return cudaGetErrorString(error);
  return devices == 0 ? "the driver lists none" : "";
}

// Skips each case before it runs, so that each is counted as skipped. (A global Environment that
// skips has them counted as passed.) What stands in SetUpTestSuite or in a fixture's constructor is
// run all the same.
class Skipper : public testing::EmptyTestEventListener {
 public:
  explicit Skipper(std::string reason) : reason_(std::move(reason)) {}
  void OnTestStart(const testing::TestInfo&) override {
    GTEST_SKIP() << "no CUDA device here: " << reason_;
  }

 private:
  const std::string reason_;
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (const std::string reason = NoDevice(); !reason.empty()) {
    testing::UnitTest::GetInstance()->listeners().Append(new Skipper(reason));  // which owns it
  }
  return RUN_ALL_TESTS();
}
