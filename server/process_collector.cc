#include "server/process_collector.h"

#include <sys/resource.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "server/metric_family.h"

namespace sieve {
namespace {

// Places in /proc/self/stat after the name of the program; proc(5) counts from 1 with two before.
constexpr int kStatThreads = 17;
constexpr int kStatStartTicks = 19;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// The number at a place of a line of fields that stand one space apart.
bool Field(absl::string_view line, int index, int64_t* value) {
  const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ');
  return index < fields.size() && absl::SimpleAtoi(fields[index], value);
}

bool ReadThreadsAndStart(const std::string& proc, ProcessStats* stats) {
  const std::string stat = ReadFile(proc + "/self/stat");
  // The name is in parentheses, and may hold any of its own.
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos || name_end + 2 > stat.size()) return false;
  const absl::string_view fields = absl::string_view(stat).substr(name_end + 2);
  int64_t start_ticks = 0;
  if (!Field(fields, kStatThreads, &stats->threads) ||
      !Field(fields, kStatStartTicks, &start_ticks)) {
    return false;
  }
  const std::string system = ReadFile(proc + "/stat");
  const size_t boot = system.find("\nbtime ");
  if (boot == std::string::npos) return false;
  const std::vector<absl::string_view> line =
      absl::StrSplit(absl::string_view(system).substr(boot + 1), absl::MaxSplits('\n', 1));
  int64_t boot_seconds = 0;
  if (!Field(line[0], 1, &boot_seconds)) return false;
  stats->start_time_seconds =
      boot_seconds + static_cast<double>(start_ticks) / sysconf(_SC_CLK_TCK);
  return true;
}

bool ReadMemory(const std::string& proc, ProcessStats* stats) {
  int64_t pages = 0;
  if (!Field(ReadFile(proc + "/self/statm"), 1, &pages)) return false;
  stats->resident_bytes = pages * sysconf(_SC_PAGESIZE);
  return true;
}

bool ReadDescriptors(const std::string& proc, ProcessStats* stats) {
  std::error_code error;
  std::filesystem::directory_iterator entries(proc + "/self/fd", error);
  // The one that reads the folder is not counted.
  int64_t count = -1;
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    ++count;
  }
  rlimit limit{};
  if (error || getrlimit(RLIMIT_NOFILE, &limit) != 0) return false;
  stats->open_fds = count;
  stats->max_fds = static_cast<int64_t>(limit.rlim_cur);
  return true;
}

class ProcessCollector : public prometheus::Collectable {
 public:
  explicit ProcessCollector(std::string proc) : proc_(std::move(proc)) {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    const absl::StatusOr<ProcessStats> read = ReadProcessStats(proc_);
    if (!read.ok()) return {};
    const ProcessStats& now = *read;
    using prometheus::MetricType;
    const auto one = [](MetricType type, const char* name, const char* help, double value) {
      return MakeFamily(type, name, help, {{{}, value}});
    };
    return {
        one(MetricType::Gauge, "process_resident_memory_bytes",
            "Resident memory in bytes, mapped files included.", now.resident_bytes),
        one(MetricType::Gauge, "process_open_fds", "Open file descriptors.", now.open_fds),
        one(MetricType::Gauge, "process_max_fds", "Most file descriptors that may be open.",
            now.max_fds),
        one(MetricType::Gauge, "process_threads", "Threads.", now.threads),
        one(MetricType::Counter, "process_cpu_seconds_total",
            "Processor time in seconds, user and system.", now.cpu_seconds),
        one(MetricType::Gauge, "process_start_time_seconds",
            "When the process started, as a Unix time in seconds.", now.start_time_seconds),
    };
  }

 private:
  const std::string proc_;
};

}  // namespace

absl::StatusOr<ProcessStats> ReadProcessStats(const std::string& proc) {
  ProcessStats stats;
  timespec cpu{};
  if (!ReadThreadsAndStart(proc, &stats) || !ReadMemory(proc, &stats) ||
      !ReadDescriptors(proc, &stats) || clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) != 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot read this process' figures from ", proc, ": is procfs mounted?"));
  }
  stats.cpu_seconds = cpu.tv_sec + cpu.tv_nsec * 1e-9;
  return stats;
}

std::shared_ptr<prometheus::Collectable> MakeProcessCollector(std::string proc) {
  return std::make_shared<ProcessCollector>(std::move(proc));
}

}  // namespace sieve
