#include "model/adapter/parameter_report.h"

#include <array>

#include "absl/base/internal/raw_logging.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/adapter/adapter.h"

namespace sieve {
namespace {

using Part = int64_t AdapterParameters::*;

constexpr std::array<Part, 5> kParts = {
    &AdapterParameters::selector, &AdapterParameters::key_compression,
    &AdapterParameters::value_compression, &AdapterParameters::positions,
    &AdapterParameters::combiner};

Part PartOf(absl::string_view tensor) {
  if (absl::StartsWith(tensor, "index.") || absl::StartsWith(tensor, "gate.")) {
    return &AdapterParameters::selector;
  }
  if (absl::StartsWith(tensor, "combine.")) return &AdapterParameters::combiner;
  if (absl::EndsWith(tensor, "_position")) return &AdapterParameters::positions;
  if (absl::StartsWith(tensor, "compress.value_")) return &AdapterParameters::value_compression;
  ABSL_RAW_CHECK(absl::StartsWith(tensor, "compress."), "a tensor of no part");
  return &AdapterParameters::key_compression;
}

AdapterParameters CountLayer(const AdapterConfig& config) {
  AdapterParameters counts;
  for (const AdapterTensor& tensor : AdapterTensors(config)) {
    int64_t size = 1;
    for (const int64_t dim : tensor.shape) size *= dim;
    counts.*PartOf(tensor.name) += size;
  }
  return counts;
}

bool Alike(const AdapterParameters& a, const AdapterParameters& b) {
  for (const Part part : kParts) {
    if (a.*part != b.*part) return false;
  }
  return true;
}

std::string Line(absl::string_view label, const AdapterParameters& counts) {
  std::string line = absl::StrFormat("%-12s", label);
  for (const Part part : kParts) absl::StrAppendFormat(&line, " %12d", counts.*part);
  absl::StrAppendFormat(&line, " %12d\n", counts.total());
  return line;
}

std::string PercentLine(const ParameterReport& report) {
  const auto percent = [&report](int64_t count) {
    return 100.0 * static_cast<double>(count) / static_cast<double>(report.base_parameters);
  };
  std::string line = absl::StrFormat("%-12s", "% of base");
  for (const Part part : kParts) absl::StrAppendFormat(&line, " %12.3f", percent(report.sum.*part));
  absl::StrAppendFormat(&line, " %12.3f\n", percent(report.sum.total()));
  return line;
}

}  // namespace

int64_t BaseParameters(const ModelConfig& c) {
  const int64_t attention = 2 * c.hidden_size * c.head_dim * (c.num_heads + c.num_kv_heads);
  const int64_t mlp = 3 * c.hidden_size * c.intermediate_size;
  const int64_t layer = attention + mlp + 2 * c.hidden_size;
  const int64_t embeddings = (c.tied_embeddings ? 1 : 2) * c.vocabulary_size * c.hidden_size;
  return embeddings + c.num_layers * layer + c.hidden_size;
}

ParameterReport CountParameters(const AdapterConfig& config, int64_t base_parameters) {
  ParameterReport report;
  report.base_parameters = base_parameters;
  const AdapterParameters layer = CountLayer(config);
  for (int64_t i = 0; i < config.num_layers; ++i) {
    report.layers.push_back(config.is_dense(i) ? AdapterParameters() : layer);
    for (const Part part : kParts) report.sum.*part += report.layers.back().*part;
  }
  return report;
}

std::string FormatParameterReport(const ParameterReport& report) {
  std::string text = absl::StrFormat("%-12s %12s %12s %12s %12s %12s %12s\n", "layers", "selector",
                                     "keys", "values", "positions", "combiner", "total");
  const std::vector<AdapterParameters>& layers = report.layers;
  for (size_t first = 0; first < layers.size();) {
    size_t last = first;
    while (last + 1 < layers.size() && Alike(layers[first], layers[last + 1])) ++last;
    const std::string label = first == last ? absl::StrCat(first) : absl::StrCat(first, "-", last);
    absl::StrAppend(&text, Line(label, layers[first]));
    first = last + 1;
  }
  absl::StrAppend(&text, Line("all", report.sum));
  if (report.base_parameters > 0) absl::StrAppend(&text, PercentLine(report));
  return text;
}

}  // namespace sieve
