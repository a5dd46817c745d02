#include "server/metrics_server.h"

#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"

namespace sieve {

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(
    const ListenAddress& address,
    std::vector<std::shared_ptr<prometheus::Collectable>> collectables) {
  // The library's constructor throws when it cannot listen.
  try {
    return std::unique_ptr<MetricsServer>(new MetricsServer(address, std::move(collectables)));
  } catch (const std::exception&) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", address.ToString(),
                                               " for metrics: is another server using the port?"));
  }
}

MetricsServer::MetricsServer(const ListenAddress& address,
                             std::vector<std::shared_ptr<prometheus::Collectable>> collectables)
    : collectables_(std::move(collectables)), exposer_(address.ToString(), /*num_threads=*/2) {
  for (const auto& collectable : collectables_) exposer_.RegisterCollectable(collectable);
}

void MetricsServer::Add(std::shared_ptr<prometheus::Collectable> collectable) {
  exposer_.RegisterCollectable(collectable);
  collectables_.push_back(std::move(collectable));
}

}  // namespace sieve
