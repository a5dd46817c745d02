#ifndef SIEVE_SERVER_METRIC_FAMILY_H_
#define SIEVE_SERVER_METRIC_FAMILY_H_

#include <string>
#include <vector>

#include "prometheus/client_metric.h"
#include "prometheus/metric_family.h"
#include "prometheus/metric_type.h"

namespace sieve {

struct MetricSample {
  std::vector<prometheus::ClientMetric::Label> labels;
  double value = 0;
};

// A family of gauges or counters whose values are known at the scrape.
// REQUIRES: `type` is Gauge or Counter.
prometheus::MetricFamily MakeFamily(prometheus::MetricType type, std::string name, std::string help,
                                    std::vector<MetricSample> samples);

}  // namespace sieve

#endif  // SIEVE_SERVER_METRIC_FAMILY_H_
