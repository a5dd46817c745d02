#ifndef SIEVE_CLIENT_BENCH_LINE_READER_H_
#define SIEVE_CLIENT_BENCH_LINE_READER_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace sieve {

// Calls `on_line` for each line of a file, plain or compressed by gzip, without its end (\n or
// \r\n). Ends with the first error that `on_line` returns, file and line number put before its
// message. NOT_FOUND when the file cannot be opened, DATA_LOSS when it cannot be read to its end.
absl::Status ReadLines(const std::string& path,
                       const std::function<absl::Status(absl::string_view)>& on_line);

}  // namespace sieve

#endif  // SIEVE_CLIENT_BENCH_LINE_READER_H_
