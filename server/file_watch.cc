#include "server/file_watch.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

namespace sieve {
namespace {

constexpr std::chrono::seconds kLookInterval(1);
// Two writes within one tick of the file system's clock leave the same stamp.
constexpr int64_t kSettledNs = 1'000'000'000;

int64_t Nanoseconds(const timespec& time) { return time.tv_sec * 1'000'000'000 + time.tv_nsec; }

}  // namespace

FileWatch::FileWatch(std::vector<std::string> paths, Clock clock,
                     std::function<absl::Time()> wall_clock)
    : paths_(std::move(paths)),
      clock_(std::move(clock)),
      wall_clock_(std::move(wall_clock)),
      next_look_(clock_() + kLookInterval) {
  Look();
}

bool FileWatch::MayHaveChanged() {
  const auto now = clock_();
  if (now < next_look_) return false;
  next_look_ = now + kLookInterval;
  return Look();
}

FileWatch::Stamp FileWatch::StampOf(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return {};
  return {.device = info.st_dev,
          .inode = info.st_ino,
          .size = info.st_size,
          .modified_ns = Nanoseconds(info.st_mtim),
          .changed_ns = Nanoseconds(info.st_ctim)};
}

bool FileWatch::Look() {
  const int64_t now_ns = absl::ToUnixNanos(wall_clock_());
  std::vector<Stamp> stamps;
  for (const std::string& path : paths_) stamps.push_back(StampOf(path));
  const bool changed = stamps != stamps_ || !settled_;
  stamps_ = std::move(stamps);
  settled_ = std::all_of(stamps_.begin(), stamps_.end(), [now_ns](const Stamp& stamp) {
    return now_ns - stamp.changed_ns > kSettledNs;
  });
  return changed;
}

}  // namespace sieve
