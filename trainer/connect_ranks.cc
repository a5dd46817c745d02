#include "trainer/connect_ranks.h"

#include <chrono>
#include <cstdlib>
#include <exception>
#include <string>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "trainer/nccl.h"

namespace sieve {
namespace {

constexpr char kNcclKey[] = "nccl";

using Gloo = c10d::ProcessGroupGloo;

absl::Status Gone(const RankEnvironment& self, absl::string_view reason) {
  return absl::UnavailableError(absl::StrCat(
      "rank ", self.rank, " of ", self.ranks, " at ", self.address, ":", self.port,
      ": another rank ended or does not answer (", reason, "); what it printed says why"));
}

// c10d throws.
template <typename Operation>
absl::Status Try(const RankEnvironment& self, const Operation& operation) {
  try {
    operation();
    return absl::OkStatus();
  } catch (const std::exception& error) {
    const std::string what = error.what();
    return Gone(self, what.substr(0, what.find('\n')));
  }
}

class ConnectedRanks : public Ranks {
 public:
  ConnectedRanks(RankEnvironment self, c10::intrusive_ptr<c10d::Store> store,
                 c10::intrusive_ptr<Gloo> gloo)
      : self_(std::move(self)), store_(std::move(store)), gloo_(std::move(gloo)) {}

  int rank() const override { return self_.rank; }
  int size() const override { return self_.ranks; }

  absl::Status Sum(const at::Tensor& tensor) override {
    if (!tensor.device().is_cpu()) return Named(nccl_->Sum(tensor));
    return Try(self_, [&] {
      std::vector<at::Tensor> tensors = {tensor};
      gloo_->allreduce(tensors)->wait();
    });
  }

  absl::Status Share(const at::Tensor& tensor) override {
    if (!tensor.device().is_cpu()) return Named(nccl_->Share(tensor));
    return Try(self_, [&] {
      std::vector<at::Tensor> tensors = {tensor};
      gloo_->broadcast(tensors)->wait();
    });
  }

  absl::Status Meet() override {
    return Try(self_, [&] { gloo_->barrier()->wait(); });
  }

  absl::Status ConnectNccl(at::Device device, absl::Duration timeout) {
    std::string id;
    if (self_.rank == 0) {
      absl::StatusOr<std::string> made = Nccl::MakeId();
      if (!made.ok()) return made.status();
      id = *std::move(made);
    }
    const absl::Status status = Try(self_, [&] {
      if (self_.rank == 0) store_->set(kNcclKey, std::vector<uint8_t>(id.begin(), id.end()));
      const std::vector<uint8_t> bytes = store_->get(kNcclKey);
      id.assign(bytes.begin(), bytes.end());
    });
    if (!status.ok()) return status;
    auto nccl = Nccl::Connect(id, self_.rank, self_.ranks, device, timeout);
    if (!nccl.ok()) return Named(nccl.status());
    nccl_ = *std::move(nccl);
    return absl::OkStatus();
  }

 private:
  absl::Status Named(const absl::Status& status) const {
    return status.ok() ? status : Gone(self_, status.message());
  }

  const RankEnvironment self_;
  const c10::intrusive_ptr<c10d::Store> store_;
  // Destroyed after gloo_, whose closed connections tell the others at once that this rank ended.
  std::unique_ptr<Nccl> nccl_;
  const c10::intrusive_ptr<Gloo> gloo_;
};

c10::intrusive_ptr<c10d::Store> OpenStore(const RankEnvironment& self,
                                          std::chrono::milliseconds timeout) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(self.port);
  options.isServer = self.rank == 0 && !self.is_served;
  options.numWorkers = self.ranks;
  options.timeout = timeout;
  auto store = c10::make_intrusive<c10d::TCPStore>(self.address, options);
  return c10::make_intrusive<c10d::PrefixStore>(absl::StrCat("sieve/", self.attempt), store);
}

c10::intrusive_ptr<Gloo> OpenGloo(const RankEnvironment& self,
                                  const c10::intrusive_ptr<c10d::Store>& store,
                                  std::chrono::milliseconds timeout) {
  auto options = Gloo::Options::create(timeout);
  const char* interface = std::getenv("GLOO_SOCKET_IFNAME");
  options->devices.push_back(interface != nullptr ? Gloo::createDeviceForInterface(interface)
                                                  : Gloo::createDefaultDevice());
  return c10::make_intrusive<Gloo>(store, self.rank, self.ranks, options);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Ranks>> ConnectRanks(const RankEnvironment& environment,
                                                    at::Device device, absl::Duration timeout) {
  if (environment.ranks == 1) return std::make_unique<Ranks>();
  const std::chrono::milliseconds wait(absl::ToInt64Milliseconds(timeout));
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<Gloo> gloo;
  absl::Status status = Try(environment, [&] {
    store = OpenStore(environment, wait);
    gloo = OpenGloo(environment, store, wait);
  });
  if (!status.ok()) return status;
  auto ranks = std::make_unique<ConnectedRanks>(environment, std::move(store), std::move(gloo));
  if (!device.is_cpu()) status = ranks->ConnectNccl(device, timeout);
  if (!status.ok()) return status;
  return ranks;
}

}  // namespace sieve
