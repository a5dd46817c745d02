#ifndef SIEVE_SERVER_CREDENTIALS_H_
#define SIEVE_SERVER_CREDENTIALS_H_

#include <chrono>
#include <memory>

#include "absl/status/statusor.h"
#include "grpcpp/security/server_credentials.h"
#include "server/file_watch.h"
#include "server/tls_files.h"

namespace sieve {

// TLS (1.2 or later) for one listening port. With `files.client_ca`, clients must present a
// certificate that one of those roots signed. The files are looked at again when a client connects,
// at most once a second: a new version serves connections from then on, those that are open keep
// what they began with. A version that cannot be used, such as a key without its certificate, is
// logged and the old one stays. Errors as of ReadTlsFiles.
//
// The credentials must outlive the server.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ReloadingTlsCredentials(
    const TlsFiles& files, FileWatch::Clock clock = std::chrono::steady_clock::now);

}  // namespace sieve

#endif  // SIEVE_SERVER_CREDENTIALS_H_
