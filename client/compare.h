#ifndef SIEVE_CLIENT_COMPARE_H_
#define SIEVE_CLIENT_COMPARE_H_

#include <optional>

#include "client/compare_view.h"
#include "client/session.h"
#include "sieve/v1/generation.pb.h"

namespace sieve {

struct CompareOptions {
  // Both answers at once. They share the server's steps, so that their speeds say nothing.
  bool together = false;
  // Of the session's output, where that is a terminal: the answers then stand side by side.
  std::optional<TerminalSize> terminal{};
};

// `sieve compare`: answers the request with the bare model and with its adapter, streamed, and
// tells on `err` how fast each was and what it read of the cache. Greedy unless the request says
// otherwise; both sides draw with the same seed. A small request that is not shown goes before
// them, so that the first answer does not pay for a server that is still cold. Where one fails the
// other is shown all the same, and the exit code is that of the first failure. An interruption ends
// all. REQUIRES: the request names an adapter and has one sample.
ExitCode RunCompare(const Session& session, const v1::GenerateRequest& request,
                    const CompareOptions& options);

}  // namespace sieve

#endif  // SIEVE_CLIENT_COMPARE_H_
