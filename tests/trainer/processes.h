#ifndef SIEVE_TESTS_TRAINER_PROCESSES_H_
#define SIEVE_TESTS_TRAINER_PROCESSES_H_

#include <functional>
#include <string>
#include <vector>

namespace sieve {

// Runs `body(0)` … `body(count - 1)` at once, each in a process of its own with a folder of its own
// as testing::TempDir(), and returns what each returned; "(ended)" for one that did not. LibTorch
// has threads: it must not have computed anything in this process, which only looks on.
std::vector<std::string> RunProcesses(int count, const std::function<std::string(int)>& body);

// A port on which nobody listens.
int FreePort();

}  // namespace sieve

#endif  // SIEVE_TESTS_TRAINER_PROCESSES_H_
