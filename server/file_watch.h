#ifndef SIEVE_SERVER_FILE_WATCH_H_
#define SIEVE_SERVER_FILE_WATCH_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace sieve {

// Tells when files that are read now and then should be read again. Thread-compatible.
class FileWatch {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;

  // Make it before the files are read for the first time: a change after that counts. `wall_clock`
  // is the one by which files have their times.
  FileWatch(std::vector<std::string> paths, Clock clock,
            std::function<absl::Time()> wall_clock = absl::Now);

  // Whether any of the files may have changed (or appeared, or gone) since the watch was made or
  // this was last true. Looks at most once a second and is false in between. True a few times more
  // than needed rather than miss a version: a file changed within the second before it was looked
  // at may change again without showing it.
  bool MayHaveChanged();

 private:
  // Tells one version of a file from another. All zero: there is no such file.
  struct Stamp {
    uint64_t device = 0;
    uint64_t inode = 0;
    int64_t size = 0;         // bytes
    int64_t modified_ns = 0;  // the content
    int64_t changed_ns = 0;   // content or attributes; no program can set it

    bool operator==(const Stamp&) const = default;
  };

  static Stamp StampOf(const std::string& path);

  // Takes the stamps; whether they are others, or may hide a change.
  bool Look();

  const std::vector<std::string> paths_;
  const Clock clock_;
  const std::function<absl::Time()> wall_clock_;
  std::chrono::steady_clock::time_point next_look_;
  std::vector<Stamp> stamps_;
  bool settled_ = false;  // no later version can have the same stamps
};

}  // namespace sieve

#endif  // SIEVE_SERVER_FILE_WATCH_H_
