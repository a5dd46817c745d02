#include "trainer/nccl.h"

#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace sieve {
namespace {

// As nccl.h has them.
struct UniqueId {
  char bytes[128];
};
using Communicator = void*;
using Stream = void*;
constexpr int kSuccess = 0;
constexpr int kInProgress = 7;
constexpr int kFloat32 = 7;
constexpr int kFloat64 = 8;
constexpr int kSum = 0;

constexpr absl::Duration kPollEvery = absl::Microseconds(20);

struct Library {
  int (*get_unique_id)(UniqueId* id) = nullptr;
  int (*init_rank)(Communicator* out, int ranks, UniqueId id, int rank) = nullptr;
  int (*all_reduce)(const void* in, void* out, size_t count, int type, int operation,
                    Communicator communicator, Stream stream) = nullptr;
  int (*broadcast)(const void* in, void* out, size_t count, int type, int root,
                   Communicator communicator, Stream stream) = nullptr;
  int (*async_error)(Communicator communicator, int* error) = nullptr;
  int (*abort)(Communicator communicator) = nullptr;
  const char* (*error_string)(int error) = nullptr;

  absl::Status Check(int error) const {
    if (error == kSuccess || error == kInProgress) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat("NCCL: ", error_string(error)));
  }
};

absl::StatusOr<Library> OpenLibrary() {
  // Opened as a part of libtorch_cuda; it is never closed.
  void* handle = dlopen("libnccl.so.2", RTLD_NOW);
  if (handle == nullptr) return absl::UnavailableError(absl::StrCat("no NCCL: ", dlerror()));
  Library library;
  bool complete = true;
  const auto find = [&](const char* name, auto* function) {
    *function = reinterpret_cast<std::remove_pointer_t<decltype(function)>>(dlsym(handle, name));
    complete = complete && *function != nullptr;
  };
  find("ncclGetUniqueId", &library.get_unique_id);
  find("ncclCommInitRank", &library.init_rank);
  find("ncclAllReduce", &library.all_reduce);
  find("ncclBroadcast", &library.broadcast);
  find("ncclCommGetAsyncError", &library.async_error);
  find("ncclCommAbort", &library.abort);
  find("ncclGetErrorString", &library.error_string);
  if (!complete) return absl::UnavailableError("libnccl.so.2 is no NCCL 2");
  return library;
}

class NcclGroup : public Nccl {
 public:
  NcclGroup(Library library, Communicator communicator, at::Device device, absl::Duration timeout)
      : library_(library), communicator_(communicator), device_(device), timeout_(timeout) {}

  ~NcclGroup() override {
    // Every operation was waited for. ncclCommDestroy would wait for the other ranks, of which one
    // may be gone.
    if (communicator_ != nullptr) library_.abort(communicator_);
  }

  absl::Status Sum(const at::Tensor& tensor) override {
    return Run(
        [&](void* data, size_t count, int type, Stream stream) {
          return library_.all_reduce(data, data, count, type, kSum, communicator_, stream);
        },
        tensor);
  }

  absl::Status Share(const at::Tensor& tensor) override {
    return Run(
        [&](void* data, size_t count, int type, Stream stream) {
          return library_.broadcast(data, data, count, type, /*root=*/0, communicator_, stream);
        },
        tensor);
  }

 private:
  template <typename Operation>
  absl::Status Run(const Operation& operation, const at::Tensor& tensor) {
    if (communicator_ == nullptr) return absl::UnavailableError("NCCL: it was given up");
    const c10::DeviceGuard guard(device_);
    const c10::impl::VirtualGuardImpl device(device_.type());
    const c10::Stream stream = device.getStream(device_);
    const int type = tensor.scalar_type() == at::kDouble ? kFloat64 : kFloat32;
    absl::Status status =
        library_.Check(operation(tensor.data_ptr(), tensor.numel(), type, stream.native_handle()));
    if (status.ok()) status = Wait(device, stream);
    if (!status.ok()) library_.abort(std::exchange(communicator_, nullptr));
    return status;
  }

  // What waits for another rank waits for ever when that one is gone.
  absl::Status Wait(const c10::impl::VirtualGuardImpl& device, const c10::Stream& stream) {
    const absl::Time begin = absl::Now();
    while (!device.queryStream(stream)) {
      int error = kSuccess;
      absl::Status status = library_.Check(library_.async_error(communicator_, &error));
      if (status.ok()) status = library_.Check(error);
      if (!status.ok()) return status;
      if (absl::Now() - begin > timeout_) {
        return absl::UnavailableError(
            absl::StrCat("NCCL: nothing for ", absl::FormatDuration(timeout_)));
      }
      absl::SleepFor(kPollEvery);
    }
    return absl::OkStatus();
  }

  const Library library_;
  Communicator communicator_;
  const at::Device device_;
  const absl::Duration timeout_;
};

}  // namespace

absl::StatusOr<std::string> Nccl::MakeId() {
  const absl::StatusOr<Library> library = OpenLibrary();
  if (!library.ok()) return library.status();
  UniqueId id;
  const absl::Status status = library->Check(library->get_unique_id(&id));
  if (!status.ok()) return status;
  return std::string(id.bytes, sizeof(id.bytes));
}

absl::StatusOr<std::unique_ptr<Nccl>> Nccl::Connect(const std::string& id, int rank, int ranks,
                                                    at::Device device, absl::Duration timeout) {
  const absl::StatusOr<Library> library = OpenLibrary();
  if (!library.ok()) return library.status();
  UniqueId bytes;
  if (id.size() != sizeof(bytes)) return absl::UnavailableError("NCCL: no identity of a group");
  std::memcpy(&bytes, id.data(), sizeof(bytes));
  const c10::DeviceGuard guard(device);
  Communicator communicator = nullptr;
  const absl::Status status = library->Check(library->init_rank(&communicator, ranks, bytes, rank));
  if (!status.ok()) return status;
  return std::make_unique<NcclGroup>(*library, communicator, device, timeout);
}

}  // namespace sieve
