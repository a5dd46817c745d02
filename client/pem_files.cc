#include "client/pem_files.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <fstream>
#include <memory>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace sieve {
namespace {

constexpr size_t kMaxBytes = 1 << 20;

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

absl::Status Wrong(const std::string& path, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
}

Bio Reader(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// The first one; null when there is none.
Certificate ReadCertificate(const std::string& pem) {
  return Certificate(PEM_read_bio_X509(Reader(pem).get(), nullptr, nullptr, nullptr));
}

}  // namespace

absl::StatusOr<std::string> ReadTextFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad()) return Wrong(path, "cannot be read");
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxBytes) return Wrong(path, "larger than 1 MiB");
  return text;
}

absl::StatusOr<std::string> ReadRoots(const std::string& path) {
  const absl::Cleanup clear_errors = [] { ERR_clear_error(); };  // gRPC looks at them
  absl::StatusOr<std::string> pem = ReadTextFile(path);
  if (pem.ok() && ReadCertificate(*pem) == nullptr) return Wrong(path, "no PEM certificate in it");
  return pem;
}

absl::StatusOr<ClientIdentity> ReadClientIdentity(const std::string& certificate_path,
                                                  const std::string& key_path) {
  const absl::Cleanup clear_errors = [] { ERR_clear_error(); };
  absl::StatusOr<std::string> certificates = ReadTextFile(certificate_path);
  if (!certificates.ok()) return certificates.status();
  absl::StatusOr<std::string> key_text = ReadTextFile(key_path);
  if (!key_text.ok()) return key_text.status();
  const Certificate certificate = ReadCertificate(*certificates);
  if (certificate == nullptr) return Wrong(certificate_path, "no PEM certificate in it");
  // OpenSSL's own would ask for a passphrase on the terminal.
  const auto no_passphrase = [](char*, int, int, void*) { return -1; };
  const PrivateKey key(
      PEM_read_bio_PrivateKey(Reader(*key_text).get(), nullptr, no_passphrase, nullptr));
  if (key == nullptr) return Wrong(key_path, "no PEM private key without a passphrase in it");
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    return Wrong(key_path,
                 absl::StrCat("not the private key of the certificate in ", certificate_path));
  }
  return ClientIdentity{*std::move(certificates), *std::move(key_text)};
}

}  // namespace sieve
