// Writes the seeds of the fuzz targets: `seeds FOLDER` makes FOLDER/<target>/<name> for each.

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "model/adapter/adapter_file.h"
#include "sieve/v1/generation.pb.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/request_kind.h"
#include "tests/model/attention/random_adapter.h"
#include "tests/testdata/files.h"
#include "tests/testdata/gguf_writer.h"
#include "tests/testdata/tiny_llama.h"

namespace sieve {
namespace {

namespace fs = std::filesystem;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

std::string JoinParts(const std::vector<std::string>& parts) {
  std::string joined;
  for (size_t i = 0; i < parts.size(); ++i) {
    absl::StrAppend(&joined, i == 0 ? "" : std::string(kPartSeparator), parts[i]);
  }
  return joined;
}

class Seeds {
 public:
  explicit Seeds(std::string folder) : folder_(std::move(folder)) {}

  void Add(const std::string& target, const std::string& name, const std::string& bytes) const {
    fs::create_directories(absl::StrCat(folder_, "/", target));
    const absl::Status status = WriteFile(absl::StrCat(folder_, "/", target, "/", name), bytes);
    FUZZ_CHECK(status.ok(), status.ToString());
  }

  // A place for files that are parts of seeds.
  std::string Scratch() const {
    const std::string path = folder_ + "/.scratch";
    fs::remove_all(path);
    fs::create_directories(path);
    return path;
  }

 private:
  const std::string folder_;
};

TinyLlamaSpec SmallSpec(int64_t size) {
  TinyLlamaSpec spec;
  spec.hidden_size = spec.intermediate_size = spec.head_dim = size;
  spec.num_layers = spec.num_heads = spec.num_kv_heads = 1;
  return spec;
}

void AddGguf(const Seeds& seeds) {
  const std::string path = seeds.Scratch() + "/model.gguf";
  const auto add_model = [&](const std::string& name, const TinyLlamaSpec& spec) {
    FUZZ_CHECK(WriteTinyGguf(path, spec).ok());
    seeds.Add("gguf", name, ReadFile(path));
  };
  TinyLlamaSpec spec = SmallSpec(32);
  spec.dtype = DType::kQ4_0;
  add_model("q4_0", spec);
  spec.dtype = DType::kQ8_0;
  spec.rope_scaling = {.kind = RopeScaling::Kind::kLinear, .factor = 2};
  add_model("q8_0_linear_rope", spec);
  spec = SmallSpec(8);
  spec.dtype = DType::kBF16;
  spec.tied = false;
  spec.attention_bias = spec.mlp_bias = true;
  spec.rope_scaling = {.kind = RopeScaling::Kind::kLlama3,
                       .factor = 8,
                       .low_freq_factor = 1,
                       .high_freq_factor = 4,
                       .original_context_length = 128};
  add_model("bf16_llama3_rope_biases", spec);

  GgufWriter every_type;
  for (uint32_t type = 0; type <= 12; ++type) {
    if (type == GgufWriter::kString || type == GgufWriter::kArray) continue;
    const size_t bytes = type <= 1 || type == 7 ? 1 : type <= 3 ? 2 : type <= 6 ? 4 : 8;
    const std::string value(bytes, '\0');
    every_type.AddMetadata(absl::StrCat("scalar.", type), type, value);
    every_type.AddMetadata(absl::StrCat("array.", type), GgufWriter::kArray,
                           GgufWriter::ArrayHeader(type, 2) + value + value);
  }
  every_type.AddStrings("strings", {"a", ""});
  every_type.AddTensor("t", {4, 2}, 0, std::string(32, 'x'));
  seeds.Add("gguf", "every_type", every_type.Finish());
  GgufWriter nothing;
  nothing.set_version(2);
  seeds.Add("gguf", "nothing", nothing.Finish());
  GgufWriter claims;
  claims.OverrideCounts(uint64_t{1} << 60, uint64_t{1} << 60);
  seeds.Add("gguf", "huge_counts", claims.Finish());
  GgufWriter large;
  large.AddTensor("t", {uint64_t{1} << 62, uint64_t{1} << 62}, 0, "");
  seeds.Add("gguf", "huge_tensor", large.Finish());
}

void AddFolders(const Seeds& seeds) {
  const std::string dir = seeds.Scratch();
  TinyLlamaSpec spec = SmallSpec(8);
  spec.dtype = DType::kBF16;
  FUZZ_CHECK(WriteTinyHfFolder(dir, spec).ok());
  seeds.Add("safetensors", "single", JoinParts({"", ReadFile(dir + "/model.safetensors")}));
  seeds.Add("tokenizer_json", "tiny",
            JoinParts({ReadFile(dir + "/tokenizer.json"), ReadFile(dir + "/tokenizer_config.json"),
                       ReadFile(dir + "/generation_config.json")}));
  seeds.Add("hf_config", "tiny", ReadFile(dir + "/config.json"));
  spec.num_shards = 2;
  spec.rope_scaling = {.kind = RopeScaling::Kind::kLlama3,
                       .factor = 8,
                       .low_freq_factor = 1,
                       .high_freq_factor = 4,
                       .original_context_length = 128};
  const std::string sharded = seeds.Scratch();
  FUZZ_CHECK(WriteTinyHfFolder(sharded, spec).ok());
  const std::string shard = sharded + "/model-0000";
  seeds.Add("safetensors", "sharded",
            JoinParts({ReadFile(sharded + "/model.safetensors.index.json"),
                       ReadFile(shard + "1-of-00002.safetensors"),
                       ReadFile(shard + "2-of-00002.safetensors")}));
  seeds.Add("hf_config", "llama3_rope", ReadFile(sharded + "/config.json"));
}

void AddSafetensors(const Seeds& seeds) {
  const auto add = [&](const std::string& name, const std::string& header, size_t data) {
    seeds.Add("safetensors", name,
              JoinParts({"", SafetensorsBytes(header, std::string(data, 'x'))}));
  };
  add("misaligned",
      R"({"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},)"
      R"("b":{"dtype":"F32","shape":[1,2],"data_offsets":[2,10]}})",
      10);
  add("overlap",
      R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},)"
      R"("b":{"dtype":"F16","shape":[2],"data_offsets":[2,6]}})",
      6);
  add("huge_shape",
      R"({"a":{"dtype":"F32","shape":[2147483647,2147483647],)"
      R"("data_offsets":[0,18446744056529682436]}})",
      4);
  add("empty", "{}", 0);
  seeds.Add("safetensors", "shard_outside",
            JoinParts({R"({"weight_map":{"a":"../model.safetensors"}})", "x"}));
}

void AddAdapters(const Seeds& seeds) {
  ModelConfig model;
  model.name = "tiny";
  model.num_layers = 2;
  model.hidden_size = model.head_dim = 8;
  model.num_heads = 2;
  model.num_kv_heads = 1;
  const std::string dir = seeds.Scratch() + "/adapter";
  const auto add = [&](const std::string& name, const AdapterConfig& config,
                       DType dtype = DType::kF32) {
    FUZZ_CHECK(WriteAdapter(RandomAdapter(config, 1), dir, dtype).ok());
    const std::string json = ReadFile(absl::StrCat(dir, "/", kAdapterConfigFile));
    const std::string tensors = ReadFile(absl::StrCat(dir, "/", kAdapterTensorsFile));
    seeds.Add("adapter", name, JoinParts({json, tensors}));
    return std::pair(json, tensors);
  };
  AdapterConfig config = AdapterConfigFor(model);
  config.index_rank = 4;
  config.dense_layers = {1};
  const auto [json, tensors] = add("index", config);
  seeds.Add("adapter", "cut_short", JoinParts({json, tensors.substr(0, tensors.size() - 3)}));
  seeds.Add("adapter", "not_finite",
            JoinParts({json, tensors.substr(0, tensors.size() - 4) + "\x01\xff\xff\xff"}));
  std::string large = json;
  large.replace(large.find("\"num_layers\": 2"), 15, "\"num_layers\": 9223372036854775807");
  seeds.Add("adapter", "large_numbers", JoinParts({large, tensors}));
  AdapterConfig plain = config;
  plain.selector = Selector::kQuestMean;
  plain.tail = false;
  plain.key_compression = plain.value_compression = Compression::kMean;
  add("without_tensors", plain);
  AdapterConfig literal = config;
  literal.selector = Selector::kGate;
  literal.combiner = Combiner::kLiteral;
  literal.key_compression = Compression::kMax;
  literal.value_compression = Compression::kMlp;
  literal.compression_block = 8;
  literal.expand_factor = 0.25;
  literal.position_embeddings = literal.shared_compression = true;
  literal.query_tile = 16;
  add("literal_bf16", literal, DType::kBF16);
}

void AddTokenizers(const Seeds& seeds) {
  using nlohmann::json;
  json vocab = json::object();
  const std::vector<std::string> tokens = TinyTokens();
  for (int id = 0; id < 256; ++id) vocab[tokens[id]] = id;
  json merges = json::array({"a b", json::array({"ab", "c"}), "\xC4\xA0 a"});
  vocab["ab"] = 256;
  vocab["abc"] = 257;
  vocab
      ["\xC4\xA0"
       "a"] = 258;
  const json added =
      json::array({{{"id", 260}, {"content", "<|begin_of_text|>"}, {"special", true}},
                   {{"id", 261}, {"content", "<tool>"}}});
  const json split = {{"type", "Sequence"},
                      {"pretokenizers",
                       {{{"type", "Digits"}, {"individual_digits", true}},
                        {{"type", "ByteLevel"}, {"add_prefix_space", false}}}}};
  const json post = {{"type", "TemplateProcessing"},
                     {"single",
                      {{{"SpecialToken", {{"id", "<|begin_of_text|>"}, {"type_id", 0}}}},
                       {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
                     {"special_tokens", {{"<|begin_of_text|>", {{"ids", {260}}}}}}};
  const json file = {{"added_tokens", added},
                     {"pre_tokenizer", split},
                     {"post_processor", post},
                     {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
  seeds.Add("tokenizer_json", "merges_and_added_tokens",
            JoinParts({file.dump(), R"({"bos_token":{"content":"<|begin_of_text|>"}})",
                       R"({"eos_token_id":[260,1]})", "{{ bos_token }}"}));
  seeds.Add("tokenizer_json", "smallest",
            R"({"model":{"vocab":{"a":0},"merges":[]},)"
            R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false}})");
  const std::string nested = std::string(100, '[') + std::string(100, ']');
  seeds.Add("tokenizer_json", "nested",
            R"({"model":{"vocab":{},"merges":[]},"normalizer":)" + nested + "}");
  seeds.Add("hf_config", "nested",
            R"({"model_type":"llama","quantization_config":)" + nested + "}");
  seeds.Add("tokenizer_json", "no_bpe", R"({"model":{"type":"Unigram","vocab":{}}})");

  seeds.Add("tiktoken", "two_lines", std::string(1, 0) + "YQ== 0\nYg== 1\n");
  seeds.Add("tiktoken", "not_base64", std::string(1, 0) + "\xFF\xFF 0\n");
  const std::string change(1, 1), where = GgufWriter::Bytes<uint16_t>(70);
  seeds.Add("tiktoken", "unchanged", change + where + std::string(1, 0));
  seeds.Add("tiktoken", "line_gone", change + where + std::string(1, 8));
  seeds.Add("tiktoken", "line_more", change + where + std::string(1, 0) + "\nYQ== 5\n");
}

void AddConfigs(const Seeds& seeds) {
  seeds.Add("hf_config", "smallest", R"({"model_type":"llama"})");
  seeds.Add("hf_config", "other",
            R"({"architectures":["MistralForCausalLM"],"model_type":"mistral"})");
  seeds.Add("hf_config", "large_numbers",
            R"({"model_type":"llama","hidden_size":9223372036854775807,"num_attention_heads":-1,)"
            R"("rope_theta":1e308,"vocab_size":18446744073709551615})");
  seeds.Add("hf_config", "rope_parameters",
            R"({"model_type":"llama","rope_parameters":{"rope_type":"linear","factor":2.0,)"
            R"("rope_theta":5e5},"quantization_config":null})");
}

void AddDetokenizer(const Seeds& seeds) {
  const auto stops = [](const std::vector<std::string>& texts) {
    std::string bytes(1, static_cast<char>(texts.size()));
    for (const std::string& text : texts) {
      bytes += static_cast<char>(text.size());
      bytes += text;
    }
    return bytes;
  };
  seeds.Add("detokenizer", "plain", std::string(1, 0) + stops({}) + "hello, world");
  seeds.Add("detokenizer", "stop", std::string(1, 0) + stops({"aab", "ab", "world"}) + "aaabworld");
  seeds.Add("detokenizer", "stop_later", std::string(1, 5) + stops({"aa"}) + "aaaaaaaa");
  seeds.Add(
      "detokenizer", "characters",
      std::string(1, 1) + stops({"\xE2\x82\xAC"}) + "\xE2\x82x\xF0\x9F\x98\x80\xFF\x05\xFF\x06");
  seeds.Add("detokenizer", "replacement",
            std::string(1, 0) + stops({"\xEF\xBF\xBD"}) +
                "a\xC3(\xED\xA0\x80"
                "b");
}

void AddChats(const Seeds& seeds) {
  const std::string chatml =
      "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + "
      "'<|im_end|>\\n' }}{% endfor %}";
  const std::string with_system = "{{ '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}" + chatml;
  const std::string llama =
      "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + "
      "'<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}";
  const std::string llama31 =
      "{% set date_string = \"26 Jul 2024\" %}{{ \"Cutting Knowledge Date: December 2023\" }}" +
      llama;
  const std::vector<std::string> turns = {"0be brief", "1<|im_end|> hi <|eot_id|>", "2 \xFFok \n",
                                          "1bye"};
  int options = 0;
  for (const auto& [name, source] : {std::pair<std::string, std::string>{"chatml", chatml},
                                     {"chatml_system", with_system},
                                     {"llama3", llama},
                                     {"llama31", llama31},
                                     {"none", ""},
                                     {"other", "{{ cycler.__init__ }}{{ '[INST]' }}"}}) {
    std::vector<std::string> parts = {source};
    parts.insert(parts.end(), turns.begin(), turns.end());
    seeds.Add("chat", name, std::string(1, static_cast<char>(options++)) + JoinParts(parts));
  }
}

template <typename Message>
void AddRequest(const Seeds& seeds, RequestKind kind, const std::string& name,
                const std::string& text) {
  Message message;
  FUZZ_CHECK(google::protobuf::TextFormat::ParseFromString(text, &message), text);
  seeds.Add("validator", name,
            std::string(1, static_cast<char>(kind)) + message.SerializeAsString());
}

void AddRequests(const Seeds& seeds) {
  const auto generate = [&](const std::string& name, const std::string& text) {
    AddRequest<v1::GenerateRequest>(seeds, RequestKind::kGenerate, name, text);
  };
  const std::string chat = R"(chat { messages { role: ROLE_SYSTEM content: "be brief" }
      messages { role: ROLE_USER content: "hi" } messages { role: ROLE_ASSISTANT content: "ho" }
      messages { role: ROLE_USER content: "why?" } })";
  generate("text", R"(text { text: "hello" })");
  generate("chat", chat);
  generate("every_field", R"(token_ids { ids: [1, 2, 257] } sampling { temperature: 0.7 top_k: 40
      top_p: 0.9 min_p: 0.05 repetition_penalty: 1.1 presence_penalty: 0.5 frequency_penalty: -0.5
      logit_bias { token_id: 7 bias: -100 } logit_bias { token_id: 8 bias: 5 } seed: 42 }
      stop { max_tokens: 8 min_tokens: 2 stop_texts: "\n" stop_texts: "end" stop_token_ids: 3
      ignore_eos: true } num_samples: 2 logprobs: 3 priority: -5 timeout { seconds: 5 nanos: 1 }
      model: "tiny" request_id: "req-1")");
  generate("huge", R"(text { text: "x" } num_samples: 2147483647 logprobs: 2147483647
      priority: -2147483648 stop { max_tokens: 2147483647 min_tokens: 2147483647 }
      sampling { temperature: inf top_k: -1 top_p: nan repetition_penalty: -0.0 })");
  generate("trusted_text", R"(text { text: "<bos>x<eos>" parse_special_tokens: true
      add_special_tokens: false })");
  AddRequest<v1::GenerateRequest>(seeds, RequestKind::kGenerateWithoutChat, "chat_refused", chat);
  AddRequest<v1::TokenizeRequest>(seeds, RequestKind::kTokenize, "tokenize", chat);
  AddRequest<v1::DetokenizeRequest>(
      seeds, RequestKind::kDetokenize, "detokenize",
      "token_ids: [104, 105, 255, 256, 226] include_special_tokens: true");
  const std::string nested(200, '\x1A');  // a field of groups that never ends
  seeds.Add("validator", "not_a_message", std::string(1, 0) + nested);
}

void AddCallers(const Seeds& seeds) {
  const std::string weights(1, 0), tenants(1, 1), keys(1, 2);
  seeds.Add("caller", "weights", weights + "a=3,b=0.5,long-name_1.x=1000");
  seeds.Add("caller", "bad_weights", weights + "a=nan,=1,a=1e400,b");
  seeds.Add("caller", "tenant",
            tenants +
                "x-sieve-tenant: team-a\ntraceparent: "
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n");
  seeds.Add("caller", "bad_tenant",
            tenants + "x-sieve-tenant: a b\nx-sieve-tenant: c\ntraceparent: 00-0-0-\n");
  seeds.Add("caller", "bearer", keys + "authorization: Bearer secret-key-1\n");
  seeds.Add("caller", "unknown_key", keys + "x-api-key: another-key\n");
  seeds.Add("caller", "no_key", keys + "authorization: Basic eDp5\n");

  const std::string digest(64, 'a');
  seeds.Add("api_keys", "one",
            R"({"keys":[{"sha256":")" + digest + R"(","tenant":"a","weight":2.5,"note":"n"}]})");
  seeds.Add("api_keys", "none", R"({"keys":[]})");
  seeds.Add("api_keys", "twice",
            R"({"keys":[{"sha256":")" + digest + R"(","tenant":"a"},{"sha256":")" +
                std::string(64, 'A') + R"(","tenant":"a","weight":1}]})");
  seeds.Add("api_keys", "bad_fields",
            R"({"keys":[{"sha256":"secret","tenant":"","weight":-1,"key":"x"}]})");
}

}  // namespace
}  // namespace sieve

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: seeds FOLDER\n");
    return 2;
  }
  const sieve::Seeds seeds(argv[1]);
  sieve::AddGguf(seeds);
  sieve::AddFolders(seeds);
  sieve::AddSafetensors(seeds);
  sieve::AddAdapters(seeds);
  sieve::AddTokenizers(seeds);
  sieve::AddConfigs(seeds);
  sieve::AddDetokenizer(seeds);
  sieve::AddChats(seeds);
  sieve::AddRequests(seeds);
  sieve::AddCallers(seeds);
  std::filesystem::remove_all(seeds.Scratch());
  return 0;
}
