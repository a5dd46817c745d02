#include "model/checkpoint/safetensors_writer.h"

#include <gtest/gtest.h>

#include "kernels/float16.h"
#include "model/checkpoint/safetensors.h"
#include "tests/model/checkpoint/test_files.h"

namespace sieve {
namespace {

class SafetensorsWriterTest : public testing::TestWithParam<DType> {
 protected:
  const std::string path_ = TestFolder() + "/written.safetensors";
};

TEST_P(SafetensorsWriterTest, WhatItWritesIsReadBack) {
  const std::vector<float> cube = {1, -2, 3.25, 0.1f, 1e-20f, -1e30f};
  const std::vector<float> vector = {7, 8, 9};
  const std::vector<float> many(200'000, 1.5f);
  const absl::Status written = WriteSafetensors(
      path_, {{"b.cube", {1, 2, 3}, cube}, {"a.vector", {3}, vector}, {"c.many", {400, 500}, many}},
      GetParam());
  ASSERT_TRUE(written.ok()) << written;
  const auto file = SafetensorsFile::Open(path_, /*max_dimensions=*/3);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ((*file)->shapes().size(), 3u);
  EXPECT_EQ((*file)->shapes().at("b.cube"), (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ((*file)->shapes().at("a.vector"), (std::vector<int64_t>{3}));
  const TensorView view = (*file)->tensors().at("b.cube");
  EXPECT_EQ(view.dtype, GetParam());
  EXPECT_EQ(view.rows, 2);
  EXPECT_EQ(view.cols, 3);
  for (size_t i = 0; i < cube.size(); ++i) {
    if (GetParam() == DType::kF32) {
      EXPECT_EQ(static_cast<const float*>(view.data)[i], cube[i]);
    } else {
      EXPECT_EQ(static_cast<const uint16_t*>(view.data)[i], FloatToBFloat16(cube[i]));
    }
  }
  const TensorView big = (*file)->tensors().at("c.many");
  EXPECT_EQ(big.rows * big.cols, 200'000);
  const int64_t last = 200'000 - 1;
  if (GetParam() == DType::kF32) {
    EXPECT_EQ(static_cast<const float*>(big.data)[last], 1.5f);
  } else {
    EXPECT_EQ(static_cast<const uint16_t*>(big.data)[last], FloatToBFloat16(1.5f));
  }
}

TEST_P(SafetensorsWriterTest, DataBeginsAligned) {
  const std::vector<float> value = {1};
  for (std::string name = "x"; name.size() < 10; name += "x") {
    ASSERT_TRUE(WriteSafetensors(path_, {{name, {1}, value}}, GetParam()).ok());
    const std::string bytes = ReadFile(path_);
    EXPECT_EQ((bytes.size() - RowBytes(GetParam(), 1)) % 8, 0u) << name;
  }
}

TEST_P(SafetensorsWriterTest, WithoutTensorsItIsAValidFile) {
  ASSERT_TRUE(WriteSafetensors(path_, {}, GetParam()).ok());
  const auto file = SafetensorsFile::Open(path_);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE((*file)->tensors().empty());
}

TEST_P(SafetensorsWriterTest, ErrorsNameTheFile) {
  const absl::Status status = WriteSafetensors(path_ + "/nowhere", {}, GetParam());
  EXPECT_FALSE(status.ok());
  EXPECT_NE(std::string(status.message()).find(path_), std::string::npos) << status;
}

INSTANTIATE_TEST_SUITE_P(Types, SafetensorsWriterTest, testing::Values(DType::kF32, DType::kBF16),
                         [](const auto& info) { return std::string(InfoOf(info.param).name); });

}  // namespace
}  // namespace sieve
