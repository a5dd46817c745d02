#include "tests/server/tsan_suppressions.h"

// ThreadSanitizer's runtime asks for it at the start; otherwise nobody calls it.
extern "C" const char* __tsan_default_suppressions() { return sieve::kTsanSuppressions; }
