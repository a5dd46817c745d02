// Every storage type's blocks against the gguf package; see make_goldens.py.

#include "kernels/dequantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "tests/model/parity/golden.h"

namespace sieve {
namespace {

using nlohmann::json;

DType DTypeNamed(const std::string& name) {
  for (int i = 0; i < kNumDTypes; ++i) {
    if (InfoOf(static_cast<DType>(i)).name == name) return static_cast<DType>(i);
  }
  ADD_FAILURE() << "no type is called " << name;
  return DType::kF32;
}

std::string Base64(const json& text) {
  std::string bytes;
  EXPECT_TRUE(absl::Base64Unescape(text.get<std::string>(), &bytes));
  return bytes;
}

TEST(DequantizeTest, ValuesEqualThoseOfTheGgufPackage) {
  std::set<std::string> seen;
  const json golden = ReadGolden("dequantize.json");
  for (const json& block : golden["cases"]) {
    const std::string name = block["type"];
    seen.insert(name);
    const DType dtype = DTypeNamed(name);
    const std::string row = Base64(block["row"]), packed = Base64(block["values"]);
    std::vector<float> expected(packed.size() / sizeof(float));
    std::memcpy(expected.data(), packed.data(), packed.size());
    const int64_t cols = static_cast<int64_t>(expected.size());
    ASSERT_EQ(RowBytes(dtype, cols), static_cast<int64_t>(row.size())) << name;
    std::vector<float> actual(cols, NAN);
    DequantizeRow(dtype, row.data(), cols, actual.data());
    float greatest = 0;
    for (const float value : expected) greatest = std::max(greatest, std::abs(value));
    for (int64_t i = 0; i < cols; ++i) {
      // A scale times an integer plus a minimum: the order of rounding is free, nothing else is.
      ASSERT_NEAR(actual[i], expected[i], 2e-7 * greatest) << name << ", value " << i;
    }
  }
  EXPECT_EQ(seen, (std::set<std::string>{"q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k", "q5_k",
                                         "q6_k", "f16", "bf16"}));
}

}  // namespace
}  // namespace sieve
