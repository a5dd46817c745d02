#ifndef SIEVE_TESTS_TESTDATA_FILES_H_
#define SIEVE_TESTS_TESTDATA_FILES_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace sieve {

// Writes a whole file, replacing what was there.
absl::Status WriteFile(const std::string& path, std::string_view bytes);

// The bytes of a safetensors file: the header's length, the header, the data.
std::string SafetensorsBytes(std::string_view header_json, std::string_view data);

}  // namespace sieve

#endif  // SIEVE_TESTS_TESTDATA_FILES_H_
