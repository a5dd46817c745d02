#include "model/adapter/adapter_json.h"

#include <array>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/json.h"
#include "model/checkpoint/quoted.h"

namespace sieve {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr char kPeftType[] = "SIEVE_NSA";
constexpr char kVariant[] = "nsa";
constexpr int64_t kFormatVersion = 1;

template <typename Enum, size_t n>
using Names = std::array<std::pair<Enum, const char*>, n>;

constexpr Names<Selector, 8> kSelectors = {{{Selector::kIndex, "index"},
                                            {Selector::kGate, "gate"},
                                            {Selector::kCompressed, "compressed"},
                                            {Selector::kMean, "mean"},
                                            {Selector::kMax, "max"},
                                            {Selector::kQuest, "quest"},
                                            {Selector::kQuestMean, "quest_mean"},
                                            {Selector::kOracle, "oracle"}}};
constexpr Names<Compression, 4> kCompressions = {{{Compression::kTilted, "tilted"},
                                                  {Compression::kMean, "mean"},
                                                  {Compression::kMax, "max"},
                                                  {Compression::kMlp, "mlp"}}};
constexpr Names<Combiner, 2> kCombiners = {
    {{Combiner::kLogSumExp, "log_sum_exp"}, {Combiner::kLiteral, "literal"}}};

const auto& NamesOf(Selector) { return kSelectors; }
const auto& NamesOf(Compression) { return kCompressions; }
const auto& NamesOf(Combiner) { return kCombiners; }

template <typename Enum, size_t n>
const char* NameIn(const Names<Enum, n>& names, Enum value) {
  for (const auto& [known, name] : names) {
    if (known == value) return name;
  }
  return "unknown";
}

template <typename Enum, size_t n>
absl::StatusOr<Enum> FindIn(const Names<Enum, n>& names, std::string_view wanted) {
  std::string all;
  for (const auto& [value, name] : names) {
    if (wanted == name) return value;
    absl::StrAppend(&all, all.empty() ? "" : ", ", name);
  }
  return absl::InvalidArgumentError(
      absl::StrCat(Quoted(wanted), " is not one of those that there are (", all, ")"));
}

// The keys in the order of the file; each is given to `visit` as its name and its place.
template <typename Config, typename Visit>
void ForEachField(Config& c, Visit&& visit) {
  visit("base_model_name_or_path", c.base_model);
  visit("base_model_digest", c.base_digest);
  visit("num_layers", c.num_layers);
  visit("hidden_size", c.hidden_size);
  visit("num_heads", c.num_heads);
  visit("num_kv_heads", c.num_kv_heads);
  visit("head_dim", c.head_dim);
  visit("sink_blocks", c.sink_blocks);
  visit("window_blocks", c.window_blocks);
  visit("selected_blocks", c.selected_blocks);
  visit("query_tile", c.query_tile);
  visit("dense_layers", c.dense_layers);
  visit("selector", c.selector);
  visit("index_rank", c.index_rank);
  visit("index_bits", c.index_bits);
  visit("tail", c.tail);
  visit("compression_block", c.compression_block);
  visit("key_compression", c.key_compression);
  visit("value_compression", c.value_compression);
  visit("value_residual_mlp", c.value_residual_mlp);
  visit("shared_compression", c.shared_compression);
  visit("expand_factor", c.expand_factor);
  visit("position_embeddings", c.position_embeddings);
  visit("combiner", c.combiner);
  visit("branch_biases", c.branch_biases);
}

class Writer {
 public:
  template <typename Value>
  void operator()(const char* key, const Value& value) {
    if constexpr (std::is_enum_v<Value>) {
      object_[key] = NameOf(value);
    } else {
      object_[key] = value;
    }
  }
  ordered_json& object() { return object_; }

 private:
  ordered_json object_;
};

template <typename Enum>
requires std::is_enum_v<Enum> absl::Status ReadValue(const json& object, const char* key,
                                                     Enum& value) {
  std::string name;
  if (absl::Status status = GetField(object, key, name); !status.ok()) return status;
  const absl::StatusOr<Enum> named = FindIn(NamesOf(value), name);
  if (named.ok()) value = *named;
  return named.status();
}

absl::Status ReadValue(const json& object, const char* key, std::vector<int64_t>& value) {
  const json& array = object.at(key);
  if (!array.is_array()) return absl::InvalidArgumentError("not an array of integers");
  for (const json& element : array) {
    int64_t number = 0;
    const absl::Status status = element.is_null()
                                    ? absl::InvalidArgumentError("null is not an integer")
                                    : GetField(json{{"an element", element}}, "an element", number);
    if (!status.ok()) return status;
    value.push_back(number);
  }
  return absl::OkStatus();
}

template <typename Value>
requires(!std::is_enum_v<Value>) absl::Status
    ReadValue(const json& object, const char* key, Value& value) {
  return GetField(object, key, value);
}

// Takes the keys of an object; the first error stays.
class Reader {
 public:
  explicit Reader(const json& object) : object_(object) {}

  template <typename Value>
  void operator()(const char* key, Value& value) {
    known_.insert(key);
    if (!status_.ok()) return;
    const auto field = object_.find(key);
    const absl::Status status = field == object_.end() || field->is_null()
                                    ? absl::InvalidArgumentError("is missing")
                                    : ReadValue(object_, key, value);
    if (!status.ok()) {
      status_ = absl::InvalidArgumentError(absl::StrCat("\"", key, "\": ", status.message()));
    }
  }

  absl::Status Finish() const {
    const absl::Status unknown = CheckKeys(object_, known_);
    return unknown.ok() ? status_ : unknown;
  }

  const absl::Status& status() const { return status_; }

 private:
  const json& object_;
  std::set<std::string> known_;
  absl::Status status_;
};

// What a file of another kind, or of a later program, has otherwise.
absl::Status ReadFormat(Reader* reader) {
  std::string peft_type, variant;
  int64_t version = 0;
  (*reader)("peft_type", peft_type);
  (*reader)("variant", variant);
  (*reader)("format_version", version);
  if (!reader->status().ok()) return reader->status();
  if (peft_type != kPeftType) {
    return absl::InvalidArgumentError(absl::StrCat("\"peft_type\": ", Quoted(peft_type),
                                                   " is not supported (\"", kPeftType, "\" is)"));
  }
  if (version != kFormatVersion) {
    return absl::InvalidArgumentError(absl::StrCat("\"format_version\": ", version,
                                                   " is not supported (", kFormatVersion, " is)"));
  }
  if (variant != kVariant) {
    return absl::InvalidArgumentError(absl::StrCat("\"variant\": ", Quoted(variant),
                                                   " is not supported (\"", kVariant, "\" is)"));
  }
  return absl::OkStatus();
}

absl::Status CheckDigest(const std::string& digest) {
  if (digest.size() == 64 && digest.find_first_not_of("0123456789abcdef") == std::string::npos) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"base_model_digest\": ", Quoted(digest), " is not 64 lower-case hex digits"));
}

}  // namespace

const char* NameOf(Selector selector) { return NameIn(kSelectors, selector); }
const char* NameOf(Compression compression) { return NameIn(kCompressions, compression); }
const char* NameOf(Combiner combiner) { return NameIn(kCombiners, combiner); }

absl::StatusOr<Selector> SelectorNamed(std::string_view name) { return FindIn(kSelectors, name); }
absl::StatusOr<Compression> CompressionNamed(std::string_view name) {
  return FindIn(kCompressions, name);
}
absl::StatusOr<Combiner> CombinerNamed(std::string_view name) { return FindIn(kCombiners, name); }

ordered_json AdapterConfigToJson(const AdapterConfig& config) {
  Writer writer;
  writer("peft_type", std::string(kPeftType));
  writer("variant", std::string(kVariant));
  writer("format_version", kFormatVersion);
  ForEachField(config, writer);
  return std::move(writer.object());
}

absl::StatusOr<AdapterConfig> AdapterConfigFromJson(const json& object) {
  Reader reader(object);
  absl::Status status = ReadFormat(&reader);
  if (!status.ok()) return status;
  AdapterConfig config;
  ForEachField(config, reader);
  status = reader.Finish();
  if (status.ok()) status = CheckDigest(config.base_digest);
  if (status.ok()) status = ValidateAdapterConfig(config);
  if (!status.ok()) return status;
  return config;
}

}  // namespace sieve
