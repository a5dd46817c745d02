#include "model/checkpoint/gguf_value.h"

#include <limits>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"

namespace sieve {
namespace {

// Type numbers of metadata values.
enum ValueType : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
};

template <typename T>
bool ReadScalar(ByteReader& reader, GgufValue& value) {
  T scalar;
  if (!reader.Read(&scalar)) return false;
  if constexpr (std::is_floating_point_v<T>) {
    value = static_cast<double>(scalar);
  } else if (std::is_same_v<T, uint64_t> && scalar > std::numeric_limits<int64_t>::max()) {
    value = static_cast<uint64_t>(scalar);
  } else {
    value = static_cast<int64_t>(scalar);
  }
  return true;
}

// REQUIRES: the reader holds `count` values.
template <typename T>
bool ReadNumbers(ByteReader& reader, uint64_t count, GgufValue& value) {
  using Wide = std::conditional_t<std::is_floating_point_v<T>, double, int64_t>;
  std::vector<Wide> numbers(count);
  for (Wide& number : numbers) {
    T scalar;
    if (!reader.Read(&scalar)) return false;
    if (std::is_same_v<T, uint64_t> && scalar > std::numeric_limits<int64_t>::max()) return false;
    number = static_cast<Wide>(scalar);
  }
  value = std::move(numbers);
  return true;
}

bool ReadBool(ByteReader& reader, bool* value) {
  uint8_t byte;
  if (!reader.Read(&byte) || byte > 1) return false;
  *value = byte == 1;
  return true;
}

uint64_t MinBytes(uint32_t type) {
  switch (type) {
    case kUint16:
    case kInt16:
      return 2;
    case kUint32:
    case kInt32:
    case kFloat32:
      return 4;
    case kString:
    case kUint64:
    case kInt64:
    case kFloat64:
      return 8;
    default:
      return 1;
  }
}

bool ReadElements(ByteReader& reader, uint32_t type, uint64_t count, GgufValue& value) {
  switch (type) {
    case kUint8:
      return ReadNumbers<uint8_t>(reader, count, value);
    case kInt8:
      return ReadNumbers<int8_t>(reader, count, value);
    case kUint16:
      return ReadNumbers<uint16_t>(reader, count, value);
    case kInt16:
      return ReadNumbers<int16_t>(reader, count, value);
    case kUint32:
      return ReadNumbers<uint32_t>(reader, count, value);
    case kInt32:
      return ReadNumbers<int32_t>(reader, count, value);
    case kUint64:
      return ReadNumbers<uint64_t>(reader, count, value);
    case kInt64:
      return ReadNumbers<int64_t>(reader, count, value);
    case kFloat32:
      return ReadNumbers<float>(reader, count, value);
    case kFloat64:
      return ReadNumbers<double>(reader, count, value);
    case kBool: {
      std::vector<bool> flags(count);
      for (uint64_t i = 0; i < count; ++i) {
        bool flag;
        if (!ReadBool(reader, &flag)) return false;
        flags[i] = flag;
      }
      value = std::move(flags);
      return true;
    }
    case kString: {
      std::vector<std::string_view> texts(count);
      for (std::string_view& text : texts) {
        if (!ReadGgufString(reader, &text)) return false;
      }
      value = std::move(texts);
      return true;
    }
    default:
      return false;
  }
}

absl::Status ReadArray(ByteReader& reader, GgufValue& value) {
  uint32_t type;
  uint64_t count;
  if (!reader.Read(&type) || !reader.Read(&count)) {
    return absl::InvalidArgumentError("the file ends within its array's header");
  }
  if (type == kArray) return absl::InvalidArgumentError("arrays of arrays are not supported");
  if (type > kFloat64) return absl::InvalidArgumentError(absl::StrCat("unknown type ", type));
  // Before anything is allocated by the count.
  if (count > reader.remaining() / MinBytes(type)) {
    return absl::InvalidArgumentError(absl::StrCat("an array of ", count,
                                                   " elements goes beyond the ", reader.remaining(),
                                                   " bytes left of the file"));
  }
  if (!ReadElements(reader, type, count, value)) {
    return absl::InvalidArgumentError(
        "an array element is malformed or goes beyond the file's end");
  }
  return absl::OkStatus();
}

}  // namespace

bool ReadGgufString(ByteReader& reader, std::string_view* text) {
  uint64_t length;
  return reader.Read(&length) && reader.ReadBytes(length, text);
}

absl::Status ReadGgufValue(ByteReader& reader, uint32_t type, GgufValue& value) {
  bool ok = false;
  switch (type) {
    case kUint8:
      ok = ReadScalar<uint8_t>(reader, value);
      break;
    case kInt8:
      ok = ReadScalar<int8_t>(reader, value);
      break;
    case kUint16:
      ok = ReadScalar<uint16_t>(reader, value);
      break;
    case kInt16:
      ok = ReadScalar<int16_t>(reader, value);
      break;
    case kUint32:
      ok = ReadScalar<uint32_t>(reader, value);
      break;
    case kInt32:
      ok = ReadScalar<int32_t>(reader, value);
      break;
    case kUint64:
      ok = ReadScalar<uint64_t>(reader, value);
      break;
    case kInt64:
      ok = ReadScalar<int64_t>(reader, value);
      break;
    case kFloat32:
      ok = ReadScalar<float>(reader, value);
      break;
    case kFloat64:
      ok = ReadScalar<double>(reader, value);
      break;
    case kBool: {
      bool flag = false;
      ok = ReadBool(reader, &flag);
      value = flag;
      break;
    }
    case kString: {
      std::string_view text;
      ok = ReadGgufString(reader, &text);
      value = text;
      break;
    }
    case kArray:
      return ReadArray(reader, value);
    default:
      return absl::InvalidArgumentError(absl::StrCat("unknown type ", type));
  }
  if (!ok)
    return absl::InvalidArgumentError("the value is malformed or goes beyond the file's end");
  return absl::OkStatus();
}

}  // namespace sieve
