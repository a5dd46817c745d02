#include "trainer/rank_environment.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace sieve {
namespace {

constexpr int kMaxRanks = 1 << 16;
constexpr int kMaxPort = 65535;

class Reader {
 public:
  explicit Reader(const GetVariable& get) : get_(get) {}

  // Kubernetes and shells leave variables empty that are not meant.
  std::string Text(const char* name) const {
    const char* value = get_(name);
    return value == nullptr ? std::string() : std::string(value);
  }
  bool Has(const char* name) const { return !Text(name).empty(); }

  // A number from `least` to `most`; absent leaves `value` as it is.
  absl::Status Number(const char* name, int least, int most, int* value) const {
    const std::string text = Text(name);
    if (text.empty()) return absl::OkStatus();
    int number = 0;
    if (!absl::SimpleAtoi(text, &number) || number < least || number > most) {
      return absl::InvalidArgumentError(absl::StrCat(name, " is \"", text, "\": a number from ",
                                                     least, " to ", most, " is expected"));
    }
    *value = number;
    return absl::OkStatus();
  }

 private:
  const GetVariable& get_;
};

struct Names {
  const char* rank;
  const char* ranks;
  const char* local_rank;
  const char* address;  // what says it without MASTER_ADDR, or null
};

constexpr Names kStarters[] = {
    {"RANK", "WORLD_SIZE", "LOCAL_RANK", nullptr},
    {"SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_LAUNCH_NODE_IPADDR"},
    {"JOB_COMPLETION_INDEX", "WORLD_SIZE", "LOCAL_RANK", nullptr},
};

absl::Status ReadRanks(const Reader& reader, const Names& names, RankEnvironment* out) {
  if (!reader.Has(names.ranks)) {
    return absl::InvalidArgumentError(
        absl::StrCat(names.rank, " is set, but ", names.ranks,
                     " is not: how many processes train together (1: each by itself)"));
  }
  absl::Status status = reader.Number(names.ranks, 1, kMaxRanks, &out->ranks);
  if (status.ok()) status = reader.Number(names.rank, 0, out->ranks - 1, &out->rank);
  if (status.ok()) status = reader.Number(names.local_rank, 0, kMaxRanks, &out->local_rank);
  return status;
}

}  // namespace

absl::StatusOr<RankEnvironment> ReadRankEnvironment(const GetVariable& get) {
  const Reader reader(get);
  RankEnvironment out;
  const Names* starter = nullptr;
  for (const Names& names : kStarters) {
    if (starter == nullptr && reader.Has(names.rank)) starter = &names;
  }
  if (starter == nullptr) return out;
  absl::Status status = ReadRanks(reader, *starter, &out);
  if (!status.ok()) return status;
  if (out.ranks == 1) return out;
  out.address = reader.Text("MASTER_ADDR");
  if (out.address.empty() && starter->address != nullptr) {
    out.address = reader.Text(starter->address);
  }
  if (out.address.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "there are ", out.ranks, " ranks, but MASTER_ADDR is not set: the machine of rank 0"));
  }
  status = reader.Number("MASTER_PORT", 1, kMaxPort, &out.port);
  if (!status.ok()) return status;
  out.is_served = reader.Text("TORCHELASTIC_USE_AGENT_STORE") == "True";
  out.attempt = reader.Text("TORCHELASTIC_RESTART_COUNT");
  return out;
}

}  // namespace sieve
