#include "server/credentials.h"

#include <cstdlib>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "grpc/grpc.h"
#include "grpc/grpc_security.h"
#include "spdlog/spdlog.h"

namespace sieve {
namespace {

std::vector<std::string> PathsOf(const TlsFiles& files) {
  std::vector<std::string> paths = {files.certificate, files.private_key};
  if (!files.client_ca.empty()) paths.push_back(files.client_ca);
  return paths;
}

void Log(const TlsFiles& files, const TlsMaterial& material) {
  spdlog::info("TLS with the certificate of {} in {}, valid until {}", material.subject,
               files.certificate, absl::FormatTime(material.not_after, absl::UTCTimeZone()));
  if (const absl::Time now = absl::Now(); now > material.not_after || now < material.not_before) {
    spdlog::warn("{}: by this machine's clock the certificate is not valid now", files.certificate);
  }
}

// What gRPC asks for certificates, with each handshake. gRPC's own watcher of files
// (FileWatcherCertificateProvider) takes a key that does not belong to the certificate, as while
// the two files are being replaced, and then serves nobody.
class CertificateSource {
 public:
  CertificateSource(TlsFiles files, FileWatch watch, TlsMaterial material)
      : files_(std::move(files)), watch_(std::move(watch)), material_(std::move(material)) {
    Log(files_, material_);
  }

  grpc_ssl_certificate_config_reload_status Fetch(grpc_ssl_server_certificate_config** config) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (watch_.MayHaveChanged()) Reload();
    if (!is_new_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    is_new_ = false;
    const grpc_ssl_pem_key_cert_pair pair = {material_.private_key.c_str(),
                                             material_.certificates.c_str()};
    // gRPC asserts that there are roots, also where it asks clients for no certificate and so
    // never looks at them.
    const std::string& roots =
        material_.client_ca.empty() ? material_.certificates : material_.client_ca;
    *config = grpc_ssl_server_certificate_config_create(roots.c_str(), &pair, 1);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

 private:
  void Reload() {
    absl::StatusOr<TlsMaterial> material = ReadTlsFiles(files_);
    if (!material.ok()) {
      if (material.status().message() == complaint_) return;
      complaint_ = std::string(material.status().message());
      spdlog::error("TLS certificates stay as they were: {}", complaint_);
      return;
    }
    complaint_.clear();
    if (material->certificates == material_.certificates &&
        material->private_key == material_.private_key &&
        material->client_ca == material_.client_ca) {
      return;
    }
    material_ = *std::move(material);
    is_new_ = true;
    Log(files_, material_);
  }

  const TlsFiles files_;
  std::mutex mutex_;
  // Guarded by mutex_.
  FileWatch watch_;
  TlsMaterial material_;
  bool is_new_ = true;     // gRPC has not got it yet
  std::string complaint_;  // the last one, so that it is not repeated every second
};

class TlsServerCredentials : public grpc::ServerCredentials {
 public:
  TlsServerCredentials(std::unique_ptr<CertificateSource> source,
                       grpc_ssl_client_certificate_request_type client_certificates)
      : source_(std::move(source)),
        credentials_(grpc_ssl_server_credentials_create_with_options(
            grpc_ssl_server_credentials_create_options_using_config_fetcher(
                client_certificates, &TlsServerCredentials::Fetch, source_.get()))) {}
  ~TlsServerCredentials() override { grpc_server_credentials_release(credentials_); }

  // Callers are known by their API keys. To ignore a processor would let everybody in.
  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {
    std::abort();
  }

 private:
  static grpc_ssl_certificate_config_reload_status Fetch(
      void* source, grpc_ssl_server_certificate_config** config) {
    return static_cast<CertificateSource*>(source)->Fetch(config);
  }

  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  const std::unique_ptr<CertificateSource> source_;
  grpc_server_credentials* const credentials_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ReloadingTlsCredentials(
    const TlsFiles& files, FileWatch::Clock clock) {
  FileWatch watch(PathsOf(files), std::move(clock));
  absl::StatusOr<TlsMaterial> material = ReadTlsFiles(files);
  if (!material.ok()) return material.status();
  const auto client_certificates = files.client_ca.empty()
                                       ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                       : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
  return std::make_shared<TlsServerCredentials>(
      std::make_unique<CertificateSource>(files, std::move(watch), *std::move(material)),
      client_certificates);
}

}  // namespace sieve
