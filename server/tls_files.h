#ifndef SIEVE_SERVER_TLS_FILES_H_
#define SIEVE_SERVER_TLS_FILES_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace sieve {

// Paths of PEM files.
struct TlsFiles {
  std::string certificate;  // the server's, then those between it and its root
  std::string private_key;  // of the server's certificate; not encrypted
  std::string client_ca;    // roots of clients' certificates; empty: clients need none
};

struct TlsMaterial {
  // As in the files.
  std::string certificates;
  std::string private_key;
  std::string client_ca;

  // Of the server's certificate, for the log.
  std::string subject;  // "CN=server.example,O=Example"
  absl::Time not_before;
  absl::Time not_after;
};

// Reads the files and checks that a server can use them: the key belongs to the certificate, both
// are as strong as OpenSSL's configuration demands, every certificate can be read. Errors as of
// ReadSmallFile; INVALID_ARGUMENT with path and reason. A certificate that is not valid yet or any
// more is no error: that is for clients to judge, by their clocks.
absl::StatusOr<TlsMaterial> ReadTlsFiles(const TlsFiles& files);

}  // namespace sieve

#endif  // SIEVE_SERVER_TLS_FILES_H_
