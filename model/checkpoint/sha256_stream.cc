#include "model/checkpoint/sha256_stream.h"

#include <openssl/evp.h>

#include "absl/base/internal/raw_logging.h"
#include "absl/strings/escaping.h"

namespace sieve {
namespace {

// What can fail in hashing is memory alone.
void Check(int result) { ABSL_RAW_CHECK(result == 1, "OpenSSL's SHA-256 failed"); }

}  // namespace

Sha256Stream::Sha256Stream() : context_(EVP_MD_CTX_new()) {
  Check(context_ != nullptr);
  Check(EVP_DigestInit_ex(context_, EVP_sha256(), nullptr));
}

Sha256Stream::~Sha256Stream() { EVP_MD_CTX_free(context_); }

void Sha256Stream::Add(std::string_view bytes) {
  Check(EVP_DigestUpdate(context_, bytes.data(), bytes.size()));
}

void Sha256Stream::AddNumber(uint64_t number) {
  char bytes[sizeof(number)];
  for (char& byte : bytes) {
    byte = static_cast<char>(number & 0xff);
    number >>= 8;
  }
  Add({bytes, sizeof(bytes)});
}

void Sha256Stream::AddText(std::string_view text) {
  AddNumber(text.size());
  Add(text);
}

std::string Sha256Stream::HexDigest() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  Check(EVP_DigestFinal_ex(context_, digest, &size));
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest), size});
}

}  // namespace sieve
