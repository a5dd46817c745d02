#include "tests/trainer/processes.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace sieve {

std::vector<std::string> RunProcesses(int count, const std::function<std::string(int)>& body) {
  struct Process {
    pid_t pid;
    int output;
  };
  std::vector<Process> processes;
  for (int i = 0; i < count; ++i) {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    const pid_t pid = fork();
    if (pid == 0) {
      const std::string folder = testing::TempDir() + "/process" + std::to_string(i);
      std::filesystem::create_directories(folder);
      setenv("TEST_TMPDIR", folder.c_str(), /*overwrite=*/1);
      const std::string result = body(i);
      const ssize_t written = write(ends[1], result.data(), result.size());
      // Without the destructors of what the parent made.
      _exit(written == static_cast<ssize_t>(result.size()) ? 0 : 1);
    }
    close(ends[1]);
    processes.push_back({pid, ends[0]});
  }
  std::vector<std::string> results;
  for (const Process& process : processes) {
    std::string result;
    char buffer[4096];
    for (ssize_t size; (size = read(process.output, buffer, sizeof(buffer))) > 0;) {
      result.append(buffer, size);
    }
    close(process.output);
    int status = 0;
    waitpid(process.pid, &status, 0);
    results.push_back(WIFEXITED(status) && WEXITSTATUS(status) == 0 ? result : "(ended)");
  }
  return results;
}

int FreePort() {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  close(listener);
  return ntohs(address.sin_port);
}

}  // namespace sieve
