#ifndef SIEVE_CLIENT_NEW_KEY_H_
#define SIEVE_CLIENT_NEW_KEY_H_

#include <optional>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "client/exit_code.h"

namespace sieve {

// What `sieve admin new-key` is asked for.
struct NewKeyOptions {
  std::string tenant;
  std::optional<double> weight;
  std::optional<std::string> note;
};

// INVALID_ARGUMENT for what the server would refuse in its file.
absl::Status CheckNewKeyOptions(const NewKeyOptions& options);

// Draws an API key of 256 random bits and prints it, once, with its entry for the server's file of
// keys, which holds only the key's hash; as one object with "key" and "entry" for `json`. Talks to
// no server.
ExitCode RunNewKey(const NewKeyOptions& options, bool json, std::ostream& out);

}  // namespace sieve

#endif  // SIEVE_CLIENT_NEW_KEY_H_
