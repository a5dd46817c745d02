#ifndef SIEVE_SERVER_METRICS_SERVER_H_
#define SIEVE_SERVER_METRICS_SERVER_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "prometheus/collectable.h"
#include "prometheus/exposer.h"
#include "server/listen_address.h"

namespace sieve {

// Answers HTTP GET /metrics in Prometheus' text format.
class MetricsServer {
 public:
  // UNAVAILABLE when the address cannot be listened on.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(
      const ListenAddress& address,
      std::vector<std::shared_ptr<prometheus::Collectable>> collectables);

  // One more, from now on.
  void Add(std::shared_ptr<prometheus::Collectable> collectable);

  int port() const { return exposer_.GetListeningPorts().front(); }

 private:
  MetricsServer(const ListenAddress& address,
                std::vector<std::shared_ptr<prometheus::Collectable>> collectables);

  std::vector<std::shared_ptr<prometheus::Collectable>> collectables_;  // it keeps weak ones
  prometheus::Exposer exposer_;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_METRICS_SERVER_H_
