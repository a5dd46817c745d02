#ifndef SIEVE_MODEL_CHECKPOINT_DURABLE_FILE_H_
#define SIEVE_MODEL_CHECKPOINT_DURABLE_FILE_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace sieve {

// A file that is written once, from its beginning to its end. Errors name the file and what the
// system says: RESOURCE_EXHAUSTED for a full disk, PERMISSION_DENIED, and so on.
class DurableFile {
 public:
  // Replaces what was there.
  static absl::StatusOr<DurableFile> Create(const std::string& path);

  DurableFile(DurableFile&& other) noexcept;
  DurableFile& operator=(DurableFile&&) = delete;
  ~DurableFile();  // without Finish, the file is left unfinished

  absl::Status Append(std::string_view bytes);
  // Everything is on the disk. The file's name is when its folder was synced too (SyncFolder).
  absl::Status Finish();

 private:
  DurableFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  std::string path_;
  int fd_;
};

absl::Status SyncFolder(const std::string& path);

// Swaps two paths at once; returns 0 or an errno. Not every file system can.
int ExchangePaths(const std::string& a, const std::string& b);

// Puts the folder `fresh`, whose files were Finished, in the place of `dir`, which need not exist;
// both are in one folder. Whatever happens, a path `dir` that exists is the old folder or the new
// one, whole. Where the file system cannot swap two folders, the old one is moved to `fresh`.old
// first, so that after a crash between two renames nothing is at `dir`, but both are beside it. The
// old folder is deleted in the end. `exchange` is replaced by tests only.
absl::Status ReplaceFolder(const std::string& fresh, const std::string& dir,
                           int (*exchange)(const std::string&,
                                           const std::string&) = &ExchangePaths);

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_DURABLE_FILE_H_
