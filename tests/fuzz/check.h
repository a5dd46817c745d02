#ifndef SIEVE_TESTS_FUZZ_CHECK_H_
#define SIEVE_TESTS_FUZZ_CHECK_H_

#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"

// What must hold for every input. Else says where and why (the further arguments, concatenated) and
// ends the process, which both the fuzzer and the test see as a finding.
#define FUZZ_CHECK(condition, ...)                                                          \
  do {                                                                                      \
    if (!(condition)) {                                                                     \
      const std::string why = absl::StrCat("" __VA_OPT__(, ) __VA_ARGS__);                  \
      std::fprintf(stderr, "%s:%d: %s does not hold. %s\n", __FILE__, __LINE__, #condition, \
                   why.c_str());                                                            \
      std::abort();                                                                         \
    }                                                                                       \
  } while (false)

#endif  // SIEVE_TESTS_FUZZ_CHECK_H_
