#include "model/checkpoint/gguf.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "tests/model/checkpoint/test_files.h"
#include "tests/testdata/files.h"
#include "tests/testdata/gguf_writer.h"

namespace sieve {
namespace {

constexpr uint32_t kF32 = 0, kQ4_0 = 2;

class GgufTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<GgufFile>> Open(const std::string& bytes) {
    const absl::Status status = WriteFile(path_, bytes);
    if (!status.ok()) return status;
    return GgufFile::Open(path_);
  }
  absl::Status OpenStatus(const std::string& bytes) { return Open(bytes).status(); }

  const std::string path_ = TestFolder() + "/test.gguf";
};

std::string Floats(int count) { return std::string(4 * count, '\x3f'); }

TEST_F(GgufTest, ReadsEveryKindOfValue) {
  GgufWriter writer;
  writer.AddMetadata("u8", 0, GgufWriter::Bytes<uint8_t>(255));
  writer.AddMetadata("i8", 1, GgufWriter::Bytes<int8_t>(-128));
  writer.AddMetadata("u16", 2, GgufWriter::Bytes<uint16_t>(65535));
  writer.AddMetadata("i16", 3, GgufWriter::Bytes<int16_t>(-32768));
  writer.AddMetadata("i32", 5, GgufWriter::Bytes<int32_t>(-7));
  writer.AddMetadata("u64", 10, GgufWriter::Bytes<uint64_t>(~uint64_t{0}));
  writer.AddMetadata("i64", 11, GgufWriter::Bytes<int64_t>(-1));
  writer.AddMetadata("f64", 12, GgufWriter::Bytes(0.1));
  writer.AddUint32("u32", 4294967295);
  writer.AddFloat("f32", 0.5f);
  writer.AddBool("yes", true);
  writer.AddString("text", "a\0b");
  writer.AddStrings("texts", {"", "x"});
  writer.AddInts("ints", {-1, 2});
  writer.AddInts("none", {});
  writer.AddMetadata("bools", GgufWriter::kArray,
                     GgufWriter::ArrayHeader(GgufWriter::kBool, 2) + std::string("\0\1", 2));
  writer.AddMetadata("floats", GgufWriter::kArray,
                     GgufWriter::ArrayHeader(GgufWriter::kFloat, 1) + GgufWriter::Bytes(1.5f));
  const auto file = Open(writer.Finish());
  ASSERT_TRUE(file.ok()) << file.status();
  const auto at = [&](const char* key) { return (*file)->metadata().find(key)->second; };
  EXPECT_EQ(at("u8"), GgufValue(int64_t{255}));
  EXPECT_EQ(at("i8"), GgufValue(int64_t{-128}));
  EXPECT_EQ(at("u16"), GgufValue(int64_t{65535}));
  EXPECT_EQ(at("i16"), GgufValue(int64_t{-32768}));
  EXPECT_EQ(at("i32"), GgufValue(int64_t{-7}));
  EXPECT_EQ(at("u64"), GgufValue(~uint64_t{0}));
  EXPECT_EQ(at("i64"), GgufValue(int64_t{-1}));
  EXPECT_EQ(at("f64"), GgufValue(0.1));
  EXPECT_EQ(at("u32"), GgufValue(int64_t{4294967295}));
  EXPECT_EQ(at("f32"), GgufValue(0.5));
  EXPECT_EQ(at("yes"), GgufValue(true));
  EXPECT_EQ(at("text"), GgufValue(std::string_view("a")));
  EXPECT_EQ(at("texts"), GgufValue(std::vector<std::string_view>{"", "x"}));
  EXPECT_EQ(at("ints"), GgufValue(std::vector<int64_t>{-1, 2}));
  EXPECT_EQ(at("none"), GgufValue(std::vector<int64_t>{}));
  EXPECT_EQ(at("bools"), GgufValue(std::vector<bool>{false, true}));
  EXPECT_EQ(at("floats"), GgufValue(std::vector<double>{1.5}));
}

TEST_F(GgufTest, ReadsTensorsOfVersions2And3) {
  for (const uint32_t version : {2, 3}) {
    GgufWriter writer;
    writer.set_version(version);
    writer.AddTensor("vector", {5}, kF32, Floats(5));
    writer.AddTensor("matrix", {64, 3, 1, 1}, kQ4_0, std::string(3 * 2 * 18, 'q'));
    const std::string bytes = writer.Finish();
    const auto file = Open(bytes);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ((*file)->file_bytes(), static_cast<int64_t>(bytes.size()));
    const TensorView vector = (*file)->tensors().find("vector")->second;
    EXPECT_EQ(vector.rows, 1);
    EXPECT_EQ(vector.cols, 5);
    EXPECT_EQ(std::memcmp(vector.data, Floats(5).data(), 20), 0);
    const TensorView matrix = (*file)->tensors().find("matrix")->second;
    EXPECT_EQ(matrix.dtype, DType::kQ4_0);
    EXPECT_EQ(matrix.rows, 3);
    EXPECT_EQ(matrix.cols, 64);
    EXPECT_EQ(*static_cast<const char*>(matrix.data), 'q');
    EXPECT_EQ(reinterpret_cast<uintptr_t>(matrix.data) % 32, 0u);
  }
}

TEST_F(GgufTest, KeepsTheFilesOwnAlignment) {
  GgufWriter writer;
  writer.set_alignment(128);
  writer.AddUint32("general.alignment", 128);
  writer.AddTensor("a", {1}, kF32, Floats(1));
  writer.AddTensor("b", {1}, kF32, Floats(1));
  const auto file = Open(writer.Finish());
  ASSERT_TRUE(file.ok()) << file.status();
  const auto* a = static_cast<const char*>((*file)->tensors().find("a")->second.data);
  EXPECT_EQ(static_cast<const char*>((*file)->tensors().find("b")->second.data) - a, 128);
}

TEST_F(GgufTest, RefusesWhatIsNotAGguf) {
  ExpectInvalid(OpenStatus(""), path_, "not a GGUF file");
  ExpectInvalid(OpenStatus("GGU"), "not a GGUF file");
  ExpectInvalid(OpenStatus("GGML" + std::string(100, '\0')), "not a GGUF file");
  ExpectInvalid(GgufFile::Open(testing::TempDir()).status(), "not a regular file");
  EXPECT_EQ(GgufFile::Open(path_ + ".none").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(GgufTest, RefusesOtherVersionsAndByteOrders) {
  GgufWriter writer;
  writer.set_version(1);
  ExpectInvalid(OpenStatus(writer.Finish()), "version 1 is not supported");
  writer.set_version(4);
  ExpectInvalid(OpenStatus(writer.Finish()), "version 4 is not supported");
  writer.set_version(0x03000000);
  ExpectInvalid(OpenStatus(writer.Finish()), "big-endian");
}

TEST_F(GgufTest, RefusesCountsBeyondTheFile) {
  GgufWriter writer;
  writer.AddUint32("key", 1);
  for (const uint64_t count :
       {uint64_t{1} << 63, ~uint64_t{0}, uint64_t{1} << 32, uint64_t{1} << 20}) {
    writer.OverrideCounts(0, count);
    ExpectInvalid(OpenStatus(writer.Finish()), path_, std::to_string(count) + " metadata entries");
    writer.OverrideCounts(count, 1);
    ExpectInvalid(OpenStatus(writer.Finish()), path_, std::to_string(count) + " tensors");
  }
  writer.OverrideCounts(0, 2);  // plausible, but not there
  ExpectInvalid(OpenStatus(writer.Finish()), "metadata entry 1");
}

TEST_F(GgufTest, RefusesMalformedValues) {
  const auto with_value = [this](uint32_t type, const std::string& payload) {
    GgufWriter writer;
    writer.AddMetadata("the.key", type, payload);
    return OpenStatus(writer.Finish());
  };
  const auto array = [&](uint32_t type, uint64_t count, const std::string& payload = "") {
    return with_value(GgufWriter::kArray, GgufWriter::ArrayHeader(type, count) + payload);
  };
  ExpectInvalid(with_value(13, "12345678"), path_, "the.key", "unknown type 13");
  ExpectInvalid(with_value(GgufWriter::kBool, "\2"), "the.key", "malformed");
  ExpectInvalid(with_value(GgufWriter::kString, GgufWriter::Bytes(~uint64_t{0})), "the.key");
  ExpectInvalid(array(GgufWriter::kArray, 1), "the.key", "arrays of arrays");
  ExpectInvalid(array(77, 1), "the.key", "unknown type 77");
  ExpectInvalid(array(GgufWriter::kUint32, uint64_t{1} << 63), "the.key", "9223372036854775808");
  ExpectInvalid(array(GgufWriter::kString, uint64_t{1} << 61), "the.key", "goes beyond");
  ExpectInvalid(array(0, 1000), "the.key", "goes beyond");
  ExpectInvalid(array(GgufWriter::kString, 1, GgufWriter::Bytes(uint64_t{1} << 40)), "the.key");
  ExpectInvalid(array(GgufWriter::kBool, 2, "\1\7"), "the.key", "malformed");
  ExpectInvalid(array(10, 1, GgufWriter::Bytes(~uint64_t{0})), "the.key", "malformed");
}

TEST_F(GgufTest, RefusesKeysAndTensorsGivenTwice) {
  GgufWriter keys;
  keys.AddUint32("key", 1);
  keys.AddUint32("key", 2);
  ExpectInvalid(OpenStatus(keys.Finish()), path_, "\"key\" appears twice");
  GgufWriter tensors;
  tensors.AddTensor("same", {1}, kF32, Floats(1));
  tensors.AddTensor("same", {1}, kF32, Floats(1));
  ExpectInvalid(OpenStatus(tensors.Finish()), path_, "tensor \"same\": appears twice");
}

TEST_F(GgufTest, RefusesBadAlignments) {
  for (const uint32_t alignment : {0u, 1u, 4u, 48u, 1u << 21, 0x80000000u}) {
    GgufWriter writer;
    writer.AddUint32("general.alignment", alignment);
    ExpectInvalid(OpenStatus(writer.Finish()), path_, "general.alignment");
  }
  GgufWriter writer;
  writer.AddString("general.alignment", "32");
  ExpectInvalid(OpenStatus(writer.Finish()), "general.alignment");
}

TEST_F(GgufTest, RefusesBadShapes) {
  const auto with_tensor = [this](const std::vector<uint64_t>& dims, uint32_t type) {
    GgufWriter writer;
    writer.AddTensor("the.tensor", dims, type, Floats(64));
    return OpenStatus(writer.Finish());
  };
  constexpr uint64_t kHuge = uint64_t{1} << 63;
  ExpectInvalid(with_tensor({}, kF32), path_, "the.tensor", "0 dimensions");
  ExpectInvalid(with_tensor({1, 1, 1, 1, 1}, kF32), "the.tensor", "5 dimensions");
  ExpectInvalid(with_tensor({2, 2, 2}, kF32), "the.tensor", "more than two dimensions");
  ExpectInvalid(with_tensor({0, 4}, kF32), "the.tensor", "zero");
  ExpectInvalid(with_tensor({4, 0}, kF32), "the.tensor", "zero");
  ExpectInvalid(with_tensor({33}, kQ4_0), "the.tensor", "blocks of 32");
  ExpectInvalid(with_tensor({kHuge}, kF32), "the.tensor", "larger than the file");
  ExpectInvalid(with_tensor({4, kHuge}, kF32), "the.tensor", "larger than the file");
  // 2^32 * 2^32 values of 4 bytes: zero, if the product were to wrap.
  ExpectInvalid(with_tensor({uint64_t{1} << 32, uint64_t{1} << 32}, kF32), "the.tensor");
  ExpectInvalid(with_tensor({65}, kF32), "the.tensor", "go beyond the file's end");
}

TEST_F(GgufTest, NamesUnsupportedTypes) {
  const auto with_type = [this](uint32_t type) {
    GgufWriter writer;
    writer.AddTensor("the.tensor", {256}, type, Floats(256));
    return OpenStatus(writer.Finish());
  };
  ExpectInvalid(with_type(16), path_, "the.tensor", "type iq2_xxs is not supported");
  ExpectInvalid(with_type(10), "type q2_k is not supported");
  ExpectInvalid(with_type(27), "type i64 is not supported");
  ExpectInvalid(with_type(4), "type number 4 is not supported");
  ExpectInvalid(with_type(0xFFFFFFFF), "type number 4294967295 is not supported");
}

TEST_F(GgufTest, RefusesBadOffsets) {
  const auto with_offset = [this](uint64_t offset) {
    GgufWriter writer;
    writer.AddTensor("first", {32}, kF32, Floats(32));
    writer.AddTensor("second", {8}, kF32, Floats(8), offset);
    return OpenStatus(writer.Finish());
  };
  EXPECT_TRUE(with_offset(128).ok());
  ExpectInvalid(with_offset(96), path_, "\"second\": overlaps another tensor");
  ExpectInvalid(with_offset(0), "overlaps another tensor");
  ExpectInvalid(with_offset(132), "\"second\": offset 132 is not a multiple of 32");
  ExpectInvalid(with_offset(160), "\"second\"", "go beyond the file's end");
  ExpectInvalid(with_offset(uint64_t{1} << 63), "\"second\"", "go beyond the file's end");
  ExpectInvalid(with_offset(~uint64_t{31}), "\"second\"", "go beyond the file's end");
}

TEST_F(GgufTest, EscapesAndCutsNamesInMessages) {
  GgufWriter writer;
  writer.AddTensor(std::string("\n\xff") + std::string(5000, 'x'), {32}, 16, Floats(32));
  const absl::Status status = OpenStatus(writer.Finish());
  ExpectInvalid(status, "\\n\\xff");
  EXPECT_LT(status.message().size(), 1000u);
}

TEST_F(GgufTest, RefusesEveryTruncation) {
  GgufWriter writer;
  writer.AddString("text", "something");
  writer.AddStrings("texts", {"one", "two", "three"});
  writer.AddInts("ints", {1, 2, 3});
  writer.AddTensor("a", {8, 2}, kF32, Floats(16));
  writer.AddTensor("b", {32}, kQ4_0, std::string(18, 'b'));
  const std::string bytes = writer.Finish();
  ASSERT_TRUE(OpenStatus(bytes).ok());
  for (size_t length = 0; length < bytes.size(); ++length) {
    ExpectInvalid(OpenStatus(bytes.substr(0, length)), path_);
  }
}

}  // namespace
}  // namespace sieve
