#ifndef SIEVE_MODEL_CHECKPOINT_SHA256_STREAM_H_
#define SIEVE_MODEL_CHECKPOINT_SHA256_STREAM_H_

#include <cstdint>
#include <string>
#include <string_view>

struct evp_md_ctx_st;  // OpenSSL's EVP_MD_CTX

namespace sieve {

// SHA-256 of bytes that come in parts.
class Sha256Stream {
 public:
  Sha256Stream();
  ~Sha256Stream();
  Sha256Stream(const Sha256Stream&) = delete;
  Sha256Stream& operator=(const Sha256Stream&) = delete;

  void Add(std::string_view bytes);
  // 8 bytes, the lowest first.
  void AddNumber(uint64_t number);
  // Length, then bytes, so that no two sequences of texts are the same stream.
  void AddText(std::string_view text);

  // 64 lower-case hex digits of all of it. Called once, last.
  std::string HexDigest();

 private:
  evp_md_ctx_st* const context_;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_SHA256_STREAM_H_
