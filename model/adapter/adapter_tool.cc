// Looks at adapters, and makes those that need no training.

#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "model/adapter/adapter_file.h"
#include "model/adapter/adapter_json.h"
#include "model/adapter/base_digest.h"
#include "model/adapter/parameter_report.h"
#include "model/checkpoint/checkpoint.h"

ABSL_FLAG(std::string, model, "",
          "a .gguf file or a Hugging Face folder: what `init` makes an adapter for; `inspect` says "
          "whether the adapter fits it");
ABSL_FLAG(std::string, out, "", "init: the folder to write");
ABSL_FLAG(std::string, selector, "mean",
          "init: how blocks are chosen, without parameters: mean, max, quest or quest_mean");
ABSL_FLAG(int64_t, sink_blocks, 1, "init: first blocks of the context that are always read");
ABSL_FLAG(int64_t, window_blocks, 8, "init: blocks before the token's own that are always read");
ABSL_FLAG(int64_t, selected_blocks, 8, "init: blocks that are chosen among the others");
ABSL_FLAG(int64_t, query_tile, 1, "init: tokens of a prompt that share a choice: 1, 16 or 64");
ABSL_FLAG(std::vector<std::string>, dense_layers, {},
          "init: numbers of layers that keep dense attention, ascending");

namespace sieve {
namespace {

constexpr char kUsage[] = R"(looks at adapters, and makes those that need no training.

  adapter_tool inspect DIR [--model MODEL]
      Checks an adapter's files; prints its configuration and its parameters by layer and part,
      with --model also as a share of the model's, and whether it is for that model.
  adapter_tool init --model MODEL --out DIR [options]
      Writes an adapter that attends to the blocks with the largest scores and leaves the others
      out. It has no parameters, so it can be served at once; a trained adapter is better.)";

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenModel() {
  const std::string path = absl::GetFlag(FLAGS_model);
  if (path.empty()) return absl::InvalidArgumentError("--model is not given");
  return OpenCheckpoint(path);
}

absl::Status Inspect(const std::string& dir) {
  const absl::StatusOr<Adapter> adapter = OpenAdapter(dir);
  if (!adapter.ok()) return adapter.status();
  const bool with_model = !absl::GetFlag(FLAGS_model).empty();
  int64_t base_parameters = 0;
  absl::Status fits;
  if (with_model) {
    const auto checkpoint = OpenModel();
    if (!checkpoint.ok()) return checkpoint.status();
    const ModelConfig& model = (*checkpoint)->config();
    base_parameters = BaseParameters(model);
    fits = CheckAdapterFits(adapter->config, model, BaseDigest(model, (*checkpoint)->weights()));
  }
  std::cout << AdapterConfigToJson(adapter->config).dump(2) << "\n\ndigest " << adapter->digest
            << "\n\nparameters\n"
            << FormatParameterReport(CountParameters(adapter->config, base_parameters));
  if (with_model && fits.ok()) std::cout << "\nfits " << absl::GetFlag(FLAGS_model) << "\n";
  return fits;
}

absl::StatusOr<AdapterConfig> ConfigFromFlags(const Checkpoint& model) {
  AdapterConfig config;
  const ModelConfig& shape = model.config();
  config.base_model = shape.name;
  config.base_digest = BaseDigest(shape, model.weights());
  config.num_layers = shape.num_layers;
  config.hidden_size = shape.hidden_size;
  config.num_heads = shape.num_heads;
  config.num_kv_heads = shape.num_kv_heads;
  config.head_dim = shape.head_dim;
  config.sink_blocks = absl::GetFlag(FLAGS_sink_blocks);
  config.window_blocks = absl::GetFlag(FLAGS_window_blocks);
  config.selected_blocks = absl::GetFlag(FLAGS_selected_blocks);
  config.query_tile = absl::GetFlag(FLAGS_query_tile);
  for (const std::string& text : absl::GetFlag(FLAGS_dense_layers)) {
    int64_t layer = 0;
    if (!absl::SimpleAtoi(text, &layer)) {
      return absl::InvalidArgumentError(absl::StrCat("--dense_layers: not a number: ", text));
    }
    config.dense_layers.push_back(layer);
  }
  const absl::StatusOr<Selector> selector = SelectorNamed(absl::GetFlag(FLAGS_selector));
  if (!selector.ok()) return selector.status();
  config.selector = *selector;
  config.tail = false;
  config.key_compression = Compression::kMean;
  config.value_compression = Compression::kMean;
  if (absl::Status status = ValidateAdapterConfig(config); !status.ok()) return status;
  if (!AdapterTensors(config).empty() || config.has_compressed_branch()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the selector ", NameOf(config.selector),
        " has parameters, which the trainer makes: without training there are mean, max, quest and "
        "quest_mean"));
  }
  return config;
}

absl::Status Init() {
  const std::string out = absl::GetFlag(FLAGS_out);
  if (out.empty()) return absl::InvalidArgumentError("--out is not given");
  const auto checkpoint = OpenModel();
  if (!checkpoint.ok()) return checkpoint.status();
  absl::StatusOr<AdapterConfig> config = ConfigFromFlags(**checkpoint);
  if (!config.ok()) return config.status();
  Adapter adapter;
  adapter.layers.resize(config->num_layers);
  adapter.config = *std::move(config);
  return WriteAdapter(adapter, out, DType::kF32);
}

absl::Status Run(const std::vector<char*>& arguments) {
  const std::string command = arguments.size() > 1 ? arguments[1] : "";
  if (command == "inspect" && arguments.size() == 3) return Inspect(arguments[2]);
  if (command == "init" && arguments.size() == 2) return Init();
  return absl::InvalidArgumentError("expected `inspect DIR` or `init`; see --help");
}

}  // namespace
}  // namespace sieve

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(sieve::kUsage);
  const absl::Status status = sieve::Run(absl::ParseCommandLine(argc, argv));
  if (status.ok()) return 0;
  std::cerr << status.message() << "\n";
  return 1;
}
