#include "tests/testdata/certificates.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace sieve {
namespace {

void Check(bool ok) {
  if (!ok) std::abort();
}

template <typename Write>
std::string Pem(const Write& write) {
  BIO* bio = BIO_new(BIO_s_mem());
  Check(write(bio) == 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string pem(data, size);
  BIO_free(bio);
  return pem;
}

std::string KeyPem(EVP_PKEY* key) {
  return Pem([key](BIO* bio) {
    return PEM_write_bio_PKCS8PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  });
}

void AddExtension(X509* certificate, int nid, const std::string& value) {
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str());
  Check(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

X509* NewCertificate(const std::string& name, EVP_PKEY* key, absl::Duration valid_for) {
  static int64_t serial = 0;
  X509* certificate = X509_new();
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_INTEGER_set_int64(X509_get_serialNumber(certificate), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -24 * 3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate), absl::ToInt64Seconds(valid_for));
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  Check(X509_set_pubkey(certificate, key) == 1);
  return certificate;
}

}  // namespace

struct TestAuthority::Signer {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = nullptr;

  ~Signer() {
    X509_free(certificate);
    EVP_PKEY_free(key);
  }
  std::string Sign(X509* subject) const {
    Check(X509_set_issuer_name(subject, X509_get_subject_name(certificate)) == 1);
    Check(X509_sign(subject, key, EVP_sha256()) > 0);
    return Pem([subject](BIO* bio) { return PEM_write_bio_X509(bio, subject); });
  }
};

TestAuthority::TestAuthority(const std::string& name) : signer_(std::make_unique<Signer>()) {
  signer_->certificate = NewCertificate(name, signer_->key, absl::Hours(24));
  AddExtension(signer_->certificate, NID_basic_constraints, "critical,CA:TRUE");
  certificate_ = signer_->Sign(signer_->certificate);
}

TestAuthority::~TestAuthority() = default;

CertificateAndKey TestAuthority::Issue(const CertificateSpec& spec) const {
  EVP_PKEY* key = spec.rsa_bits > 0 ? EVP_RSA_gen(spec.rsa_bits) : EVP_EC_gen("P-256");
  Check(key != nullptr);
  X509* certificate = NewCertificate(spec.name, key, spec.valid_for);
  AddExtension(certificate, NID_subject_alt_name, absl::StrCat("DNS:", spec.name, ",IP:127.0.0.1"));
  CertificateAndKey result{signer_->Sign(certificate), KeyPem(key)};
  X509_free(certificate);
  EVP_PKEY_free(key);
  return result;
}

std::string Encrypted(const std::string& private_key) {
  BIO* bio = BIO_new_mem_buf(private_key.data(), static_cast<int>(private_key.size()));
  EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  Check(key != nullptr);
  const std::string pem = Pem([key](BIO* out) {
    return PEM_write_bio_PKCS8PrivateKey(out, key, EVP_aes_256_cbc(), "passphrase", 10, nullptr,
                                         nullptr);
  });
  EVP_PKEY_free(key);
  return pem;
}

}  // namespace sieve
