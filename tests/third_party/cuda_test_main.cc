// The main function of a cuda_test.

#include <string>

#include "cuda_runtime_api.h"
#include "gtest/gtest.h"

namespace {

// Skips every case where no device can be used. tests/gpu.sh counts a test that only skipped as a
// failure.
class NeedsDevice : public testing::Environment {
 public:
  void SetUp() override {
    int devices = 0;
    const cudaError_t error = cudaGetDeviceCount(&devices);
    if (error != cudaSuccess || devices == 0) {
      const std::string reason = error == cudaSuccess ? "it lists none" : cudaGetErrorString(error);
      GTEST_SKIP() << "no CUDA device here: " << reason;
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  testing::AddGlobalTestEnvironment(new NeedsDevice);  // GoogleTest deletes it.
  return RUN_ALL_TESTS();
}
