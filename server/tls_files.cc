#include "server/tls_files.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include <ctime>
#include <memory>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/small_file.h"
#include "spdlog/spdlog.h"

namespace sieve {
namespace {

template <auto kFree>
struct FreeWith {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Bio = std::unique_ptr<BIO, FreeWith<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, FreeWith<X509_free>>;
using PrivateKey = std::unique_ptr<EVP_PKEY, FreeWith<EVP_PKEY_free>>;
using Context = std::unique_ptr<SSL_CTX, FreeWith<SSL_CTX_free>>;

absl::Status Error(const std::string& path, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", message));
}

// OpenSSL's reason for what failed last.
std::string Reason() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  return reason == nullptr ? "unknown" : reason;
}

Bio Reader(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

absl::StatusOr<std::vector<Certificate>> ReadCertificates(const std::string& path,
                                                          const std::string& pem) {
  std::vector<Certificate> certificates;
  const Bio reader = Reader(pem);
  while (X509* certificate = PEM_read_bio_X509(reader.get(), nullptr, nullptr, nullptr)) {
    certificates.emplace_back(certificate);
  }
  if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
    return Error(
        path, absl::StrCat("certificate ", certificates.size() + 1, " cannot be read: ", Reason()));
  }
  if (certificates.empty()) {
    return Error(path, "no certificate in it; expected PEM, with -----BEGIN CERTIFICATE-----");
  }
  return certificates;
}

absl::StatusOr<PrivateKey> ReadPrivateKey(const std::string& path, const std::string& pem) {
  // OpenSSL's own would ask on the terminal.
  bool encrypted = false;
  const auto no_passphrase = [](char*, int, int, void* asked) {
    *static_cast<bool*>(asked) = true;
    return -1;
  };
  PrivateKey key(PEM_read_bio_PrivateKey(Reader(pem).get(), nullptr, no_passphrase, &encrypted));
  if (encrypted) {
    return Error(path, "the private key is encrypted; expected one without a passphrase");
  }
  if (key == nullptr) {
    return Error(path,
                 absl::StrCat("no private key that can be read; expected PEM, with -----BEGIN "
                              "PRIVATE KEY----- (",
                              Reason(), ")"));
  }
  return key;
}

// What gRPC will do with them.
absl::Status CheckPair(const TlsFiles& files, const std::vector<Certificate>& certificates,
                       EVP_PKEY* key) {
  if (X509_check_private_key(certificates[0].get(), key) != 1) {
    return Error(files.private_key,
                 absl::StrCat("is not the private key of the certificate in ", files.certificate));
  }
  const Context context(SSL_CTX_new(TLS_server_method()));
  bool usable = SSL_CTX_use_certificate(context.get(), certificates[0].get()) == 1;
  for (size_t i = 1; usable && i < certificates.size(); ++i) {
    usable = SSL_CTX_add1_chain_cert(context.get(), certificates[i].get()) == 1;
  }
  if (!usable) return Error(files.certificate, absl::StrCat("cannot be used: ", Reason()));
  if (SSL_CTX_use_PrivateKey(context.get(), key) != 1) {
    return Error(files.private_key, absl::StrCat("cannot be used: ", Reason()));
  }
  return absl::OkStatus();
}

std::string SubjectOf(const X509* certificate) {
  const Bio text(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(text.get(), X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
  char* data = nullptr;
  const long size = BIO_get_mem_data(text.get(), &data);
  return std::string(data, size);
}

absl::Time TimeOf(const ASN1_TIME* time) {
  tm utc = {};
  if (ASN1_TIME_to_tm(time, &utc) != 1) return absl::InfinitePast();
  return absl::FromTimeT(timegm(&utc));
}

}  // namespace

absl::StatusOr<TlsMaterial> ReadTlsFiles(const TlsFiles& files) {
  // gRPC uses OpenSSL on the same threads, and looks at the errors left there.
  ERR_clear_error();
  const absl::Cleanup clear_errors = [] { ERR_clear_error(); };

  const absl::StatusOr<SmallFile> certificate_file = ReadSmallFile(files.certificate);
  if (!certificate_file.ok()) return certificate_file.status();
  const absl::StatusOr<SmallFile> key_file = ReadSmallFile(files.private_key);
  if (!key_file.ok()) return key_file.status();
  const auto certificates = ReadCertificates(files.certificate, certificate_file->content);
  if (!certificates.ok()) return certificates.status();
  const absl::StatusOr<PrivateKey> key = ReadPrivateKey(files.private_key, key_file->content);
  if (!key.ok()) return key.status();
  if (absl::Status status = CheckPair(files, *certificates, key->get()); !status.ok()) {
    return status;
  }
  if (key_file->mode & S_IROTH) {
    spdlog::warn("{}: every user of this machine may read this private key; chmod o-r it",
                 files.private_key);
  }

  const X509* certificate = certificates->front().get();
  TlsMaterial material{.certificates = certificate_file->content,
                       .private_key = key_file->content,
                       .client_ca = "",
                       .subject = SubjectOf(certificate),
                       .not_before = TimeOf(X509_get0_notBefore(certificate)),
                       .not_after = TimeOf(X509_get0_notAfter(certificate))};
  if (!files.client_ca.empty()) {
    const absl::StatusOr<SmallFile> ca_file = ReadSmallFile(files.client_ca);
    if (!ca_file.ok()) return ca_file.status();
    const auto roots = ReadCertificates(files.client_ca, ca_file->content);
    if (!roots.ok()) return roots.status();
    material.client_ca = ca_file->content;
  }
  return material;
}

}  // namespace sieve
