#include "model/checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/model/checkpoint/test_files.h"
#include "tests/testdata/files.h"

namespace sieve {
namespace {

class SafetensorsTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<SafetensorsFile>> OpenBytes(const std::string& bytes) {
    const absl::Status status = WriteFile(path_, bytes);
    if (!status.ok()) return status;
    return SafetensorsFile::Open(path_);
  }
  absl::Status Open(const std::string& header, int64_t data_bytes = 16) {
    return OpenBytes(SafetensorsBytes(header, std::string(data_bytes, '\1'))).status();
  }
  // A file with one tensor "t" of 16 bytes.
  absl::Status OpenTensor(const std::string& fields) { return Open("{\"t\":{" + fields + "}}"); }

  const std::string path_ = TestFolder() + "/test.safetensors";
};

TEST_F(SafetensorsTest, ReadsTensors) {
  const std::string header = R"({"__metadata__":{"format":"pt"},)"
                             R"("m":{"dtype":"BF16","shape":[2,3],"data_offsets":[8,20]},)"
                             R"("v":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                             R"("h":{"dtype":"F16","shape":[1],"data_offsets":[20,22]}}  )";
  const std::string data = "01234567abcdefghijkl##";
  const std::string bytes = SafetensorsBytes(header, data);
  const auto file = OpenBytes(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->file_bytes(), static_cast<int64_t>(bytes.size()));
  ASSERT_EQ((*file)->tensors().size(), 3u);
  const TensorView m = (*file)->tensors().find("m")->second;
  EXPECT_EQ(m.dtype, DType::kBF16);
  EXPECT_EQ(m.rows, 2);
  EXPECT_EQ(m.cols, 3);
  EXPECT_EQ(std::memcmp(m.data, "abcdefghijkl", 12), 0);
  const TensorView v = (*file)->tensors().find("v")->second;
  EXPECT_EQ(v.rows, 1);
  EXPECT_EQ(v.cols, 2);
}

TEST_F(SafetensorsTest, AlignsWhatTheFileDoesNot) {
  for (int spaces = 0; spaces < 8; ++spaces) {
    const std::string header = R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
    const auto file = OpenBytes(SafetensorsBytes(header + std::string(spaces, ' '), "abcd"));
    ASSERT_TRUE(file.ok()) << file.status();
    const void* data = (*file)->tensors().find("t")->second.data;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 4, 0u);
    EXPECT_EQ(std::memcmp(data, "abcd", 4), 0);
  }
}

TEST_F(SafetensorsTest, ReadsThreeDimensionsWhereTheyAreWanted) {
  const std::string header = R"({"t":{"dtype":"BF16","shape":[2,3,4],"data_offsets":[0,48]}})";
  ASSERT_TRUE(WriteFile(path_, SafetensorsBytes(header, std::string(48, 1))).ok());
  ExpectInvalid(SafetensorsFile::Open(path_).status(), "3 dimensions", "1 and 2 are");
  const auto file = SafetensorsFile::Open(path_, 3);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->shapes().at("t"), (std::vector<int64_t>{2, 3, 4}));
  EXPECT_EQ((*file)->tensors().at("t").rows, 6);
  EXPECT_EQ((*file)->tensors().at("t").cols, 4);
  for (const std::string shape : {"[]", "[1,2,3,4]"}) {
    const std::string other =
        R"({"t":{"dtype":"BF16","shape":)" + shape + R"(,"data_offsets":[0,48]}})";
    ASSERT_TRUE(WriteFile(path_, SafetensorsBytes(other, std::string(48, 1))).ok());
    ExpectInvalid(SafetensorsFile::Open(path_, 3).status(), "dimensions", "1 to 3 are");
  }
  // Whose sizes would not fit their product.
  const std::string large =
      R"({"t":{"dtype":"F32","shape":[2147483647,2147483647,2147483647],"data_offsets":[0,48]}})";
  ASSERT_TRUE(WriteFile(path_, SafetensorsBytes(large, std::string(48, 1))).ok());
  ExpectInvalid(SafetensorsFile::Open(path_, 3).status(), "rows");
}

TEST_F(SafetensorsTest, ReadsAFileWithoutTensors) {
  const auto file = OpenBytes(SafetensorsBytes("{}", ""));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE((*file)->tensors().empty());
}

TEST_F(SafetensorsTest, RefusesBadHeaders) {
  ExpectInvalid(OpenBytes("").status(), path_, "shorter than 8 bytes");
  ExpectInvalid(OpenBytes("1234567").status(), "shorter than 8 bytes");
  for (const uint64_t length : {uint64_t{3}, uint64_t{1} << 63, ~uint64_t{0}}) {
    std::string bytes(reinterpret_cast<const char*>(&length), 8);
    ExpectInvalid(OpenBytes(bytes + "{}").status(), path_, std::to_string(length));
  }
  ExpectInvalid(Open(""), path_, "malformed JSON");
  ExpectInvalid(Open("{\"a\""), "malformed JSON");
  ExpectInvalid(Open("[]"), "not a JSON object");
  ExpectInvalid(Open("{\"a\":1e999}"), "malformed JSON");
  ExpectInvalid(Open("{\"\xff\":1}"), "malformed JSON");
  ExpectInvalid(Open(std::string(1'000'000, '[')), "nested deeper");
  const std::string tensor = R"("t":{"dtype":"F32","shape":[4],"data_offsets":[0,16]})";
  ExpectInvalid(Open("{" + tensor + "," + tensor + "}"), "\"t\" appears twice");
}

TEST_F(SafetensorsTest, RefusesBadTypesAndShapes) {
  const std::string end = R"("data_offsets":[0,16])";
  EXPECT_TRUE(OpenTensor(R"("dtype":"F32","shape":[2,2],)" + end).ok());
  ExpectInvalid(Open("{\"t\":3}"), path_, "\"t\"", "not a JSON object");
  ExpectInvalid(OpenTensor(R"("shape":[4],)" + end), "\"t\"", "no dtype");
  ExpectInvalid(OpenTensor(R"("dtype":5,"shape":[4],)" + end), "\"t\"", "dtype");
  ExpectInvalid(OpenTensor(R"("dtype":"F8_E4M3","shape":[16],)" + end), "\"t\"",
                "\"F8_E4M3\" is not supported");
  ExpectInvalid(OpenTensor(R"("dtype":"F32",)" + end), "\"t\"", "no shape");
  ExpectInvalid(OpenTensor(R"("dtype":"F32","shape":[],)" + end), "0 dimensions");
  ExpectInvalid(OpenTensor(R"("dtype":"F32","shape":[1,2,2],)" + end), "3 dimensions");
  for (const char* dim :
       {"0", "-4", "4.0", "\"4\"", "null", "2147483648", "18446744073709551616"}) {
    ExpectInvalid(OpenTensor(std::string(R"("dtype":"F32","shape":[1,)") + dim + "]," + end),
                  "\"t\"", "dimension");
  }
  ExpectInvalid(OpenTensor(R"("dtype":"F32","shape":[2147483647,2147483647],)" + end), "\"t\"",
                "need 18446744056529682436");
  ExpectInvalid(OpenTensor(R"("dtype":"F32","shape":[5],)" + end), "span 16 bytes", "need 20");
  ExpectInvalid(OpenTensor(R"("dtype":"BF16","shape":[4],)" + end), "span 16 bytes", "need 8");
}

TEST_F(SafetensorsTest, RefusesBadOffsets) {
  const auto with_offsets = [this](const std::string& offsets) {
    return OpenTensor(R"("dtype":"F32","shape":[4],"data_offsets":)" + offsets);
  };
  for (const char* offsets : {"null", "[]", "[0]", "[0,16,16]", "[-1,15]", "[0.0,16.0]", "16"}) {
    ExpectInvalid(with_offsets(offsets), "\"t\"", "data_offsets");
  }
  ExpectInvalid(with_offsets("[16,0]"), "\"t\"", "backwards");
  ExpectInvalid(with_offsets("[4,20]"), "\"t\"", "of 16", "truncated");
  ExpectInvalid(with_offsets("[18446744073709551600,18446744073709551615]"), "\"t\"", "truncated");
}

TEST_F(SafetensorsTest, RefusesOverlapsAndGaps) {
  const auto with_second = [this](const std::string& offsets, int64_t data_bytes) {
    return Open(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                R"("b":{"dtype":"F32","shape":[2],"data_offsets":)" +
                    offsets + "}}",
                data_bytes);
  };
  EXPECT_TRUE(with_second("[8,16]", 16).ok());
  ExpectInvalid(with_second("[4,12]", 12), "\"b\": overlaps another tensor");
  ExpectInvalid(with_second("[0,8]", 8), "overlaps another tensor");
  ExpectInvalid(with_second("[12,20]", 20), "\"b\": a gap before its data");
  ExpectInvalid(with_second("[8,16]", 17), path_, "1 bytes of no tensor");
}

TEST_F(SafetensorsTest, RefusesEveryTruncation) {
  const std::string bytes =
      SafetensorsBytes(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "12345678");
  ASSERT_TRUE(OpenBytes(bytes).ok());
  for (size_t length = 0; length < bytes.size(); ++length) {
    ExpectInvalid(OpenBytes(bytes.substr(0, length)).status(), path_);
  }
}

}  // namespace
}  // namespace sieve
