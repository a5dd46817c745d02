#ifndef SIEVE_CLIENT_EXIT_CODE_H_
#define SIEVE_CLIENT_EXIT_CODE_H_

#include "grpcpp/support/status.h"

namespace sieve {

// What the program's exit status says; part of its interface, so numbers never change.
enum class ExitCode {
  kOk = 0,
  kRequestFailed = 1,  // the server refused the request or failed it
  kUsage = 2,          // the command line makes no sense; nothing was sent
  kUnavailable = 3,    // no server there, not serving, or shutting down: try again later
  kDeadline = 4,       // out of time
  kExhausted = 5,      // the server is full: try again later, or ask for less
  kInterrupted = 130,  // Ctrl-C
};

// kInterrupted for CANCELLED: only an interruption cancels this program's calls.
ExitCode ExitCodeFor(const grpc::Status& status);

// The canonical name, such as "INVALID_ARGUMENT".
const char* StatusCodeName(grpc::StatusCode code);

}  // namespace sieve

#endif  // SIEVE_CLIENT_EXIT_CODE_H_
