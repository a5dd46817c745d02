#ifndef SIEVE_SERVER_LOG_LOG_FORMAT_H_
#define SIEVE_SERVER_LOG_LOG_FORMAT_H_

#include <memory>

#include "spdlog/formatter.h"

namespace sieve {

enum class LogFormat { kText, kJson };

// The logger of this name hands over lines as LogFields makes them: for kJson what follows "msg" in
// the object (`"request","code":"OK"`), for kText the text itself.
inline constexpr char kRequestLoggerName[] = "request";

// Lines begin with the time (RFC 3339, UTC) and the level. One line a message, whatever it holds:
// kJson writes objects of ASCII characters, kText shows control characters as \xHH.
std::unique_ptr<spdlog::formatter> MakeLogFormatter(LogFormat format);

}  // namespace sieve

#endif  // SIEVE_SERVER_LOG_LOG_FORMAT_H_
