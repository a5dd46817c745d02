#ifndef SIEVE_TESTS_TESTDATA_CERTIFICATES_H_
#define SIEVE_TESTS_TESTDATA_CERTIFICATES_H_

#include <memory>
#include <string>

#include "absl/time/time.h"

namespace sieve {

// PEM.
struct CertificateAndKey {
  std::string certificate;
  std::string private_key;
};

struct CertificateSpec {
  std::string name;  // common name and DNS name; 127.0.0.1 is a name too
  absl::Duration valid_for = absl::Hours(1);
  int rsa_bits = 0;  // 0: an elliptic curve, P-256
};

// Signs certificates for tests with a new key.
class TestAuthority {
 public:
  explicit TestAuthority(const std::string& name);
  ~TestAuthority();

  const std::string& certificate() const { return certificate_; }  // PEM

  CertificateAndKey Issue(const CertificateSpec& spec) const;

 private:
  struct Signer;
  const std::unique_ptr<Signer> signer_;
  std::string certificate_;
};

// The private key under a passphrase.
std::string Encrypted(const std::string& private_key);

}  // namespace sieve

#endif  // SIEVE_TESTS_TESTDATA_CERTIFICATES_H_
