#ifndef SIEVE_TESTS_FUZZ_SCRATCH_H_
#define SIEVE_TESTS_FUZZ_SCRATCH_H_

#include <string>
#include <string_view>

namespace sieve {

// A folder of this process, under TEST_TMPDIR or TMPDIR; removed at exit.
const std::string& ScratchFolder();

// Makes `name` in it hold `bytes`, or not be there when `bytes` is empty. Returns its path.
std::string PutScratchFile(std::string_view name, std::string_view bytes);

}  // namespace sieve

#endif  // SIEVE_TESTS_FUZZ_SCRATCH_H_
