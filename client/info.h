#ifndef SIEVE_CLIENT_INFO_H_
#define SIEVE_CLIENT_INFO_H_

#include "client/session.h"

namespace sieve {

// `sieve info`: the served model, its limits, and how the cache is used.
ExitCode RunInfo(const Session& session);

// `sieve info --health`: prints the server's health; kOk only when it is SERVING.
ExitCode RunHealth(const Session& session);

}  // namespace sieve

#endif  // SIEVE_CLIENT_INFO_H_
