#ifndef SIEVE_CLIENT_PEM_FILES_H_
#define SIEVE_CLIENT_PEM_FILES_H_

#include <string>

#include "absl/status/statusor.h"

namespace sieve {

// The contents of PEM files, checked: gRPC says of a file that it cannot use only that no
// connection came about. INVALID_ARGUMENT with the path and what is wrong.
absl::StatusOr<std::string> ReadRoots(const std::string& path);

struct ClientIdentity {
  std::string certificates;
  std::string private_key;  // of the first of them
};
absl::StatusOr<ClientIdentity> ReadClientIdentity(const std::string& certificate_path,
                                                  const std::string& key_path);

// A file of any kind, of at most 1 MiB.
absl::StatusOr<std::string> ReadTextFile(const std::string& path);

}  // namespace sieve

#endif  // SIEVE_CLIENT_PEM_FILES_H_
