#include "server/metric_family.h"

#include <utility>

namespace sieve {

prometheus::MetricFamily MakeFamily(prometheus::MetricType type, std::string name, std::string help,
                                    std::vector<MetricSample> samples) {
  prometheus::MetricFamily family;
  family.name = std::move(name);
  family.help = std::move(help);
  family.type = type;
  for (MetricSample& sample : samples) {
    prometheus::ClientMetric metric;
    metric.label = std::move(sample.labels);
    const bool counts = type == prometheus::MetricType::Counter;
    (counts ? metric.counter.value : metric.gauge.value) = sample.value;
    family.metric.push_back(std::move(metric));
  }
  return family;
}

}  // namespace sieve
