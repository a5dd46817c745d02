#ifndef SIEVE_TRAINER_REPORT_CRC32C_H_
#define SIEVE_TRAINER_REPORT_CRC32C_H_

#include <cstdint>
#include <string_view>

namespace sieve {

// CRC-32C (Castagnoli), RFC 3720, appendix B.4. Our own, for Debian has no library of it and zlib's
// is of another polynomial.
uint32_t Crc32c(std::string_view bytes);

}  // namespace sieve

#endif  // SIEVE_TRAINER_REPORT_CRC32C_H_
