#ifndef SIEVE_MODEL_CHECKPOINT_GGUF_VALUE_H_
#define SIEVE_MODEL_CHECKPOINT_GGUF_VALUE_H_

#include <cstdint>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "model/checkpoint/byte_reader.h"

namespace sieve {

// A metadata value: integers widen to int64 (or uint64 where they do not fit), floats to double.
// Strings view the mapped file.
using GgufValue =
    std::variant<int64_t, uint64_t, double, bool, std::string_view, std::vector<int64_t>,
                 std::vector<double>, std::vector<bool>, std::vector<std::string_view>>;

// A length and that many bytes. False when they are not all there.
bool ReadGgufString(ByteReader& reader, std::string_view* text);

// The value of a metadata entry of this type number. INVALID_ARGUMENT with the reason alone: the
// caller knows file and key. No more memory is taken than the remaining bytes could fill.
absl::Status ReadGgufValue(ByteReader& reader, uint32_t type, GgufValue& value);

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_GGUF_VALUE_H_
