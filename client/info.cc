#include "client/info.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/answer_stats.h"

namespace sieve {
namespace {

constexpr double kMiB = 1 << 20;

void PrintModel(const v1::GetModelResponse& model, std::ostream& out) {
  const v1::ModelShape& shape = model.shape();
  out << absl::StreamFormat("model         %s (%s, %.1f M parameters, %s, %.1f MiB)\n",
                            model.name(), shape.architecture(), shape.parameters() / 1e6,
                            shape.weight_type(), shape.weight_bytes() / kMiB);
  out << absl::StreamFormat(
      "shape         %d layers, hidden %d, intermediate %d, %d query and %d key/value heads of %d, "
      "vocabulary %d\n",
      shape.num_layers(), shape.hidden_size(), shape.intermediate_size(), shape.num_heads(),
      shape.num_kv_heads(), shape.head_dim(), shape.vocabulary_size());
  out << absl::StreamFormat("context       %d tokens\n", model.limits().max_context_tokens());
  const v1::TokenizerInfo& tokenizer = model.tokenizer();
  out << absl::StreamFormat(
      "tokenizer     %s, %s; end of sequence %s; chat %s\n", tokenizer.kind(),
      tokenizer.pre_tokenizer(), absl::StrJoin(tokenizer.eos_token_ids(), ", "),
      tokenizer.chat_format().empty() ? "none: send plain prompts" : tokenizer.chat_format());
  const auto append_name = [](std::string* names, const v1::AdapterInfo& adapter) {
    names->append(adapter.name());
    if (adapter.reads().causal_keys() == 0) return;
    absl::StrAppend(names, " (read ", FormatDensity(adapter.reads()), " of the keys)");
  };
  out << "adapters      "
      << (model.adapters().empty() ? "none" : absl::StrJoin(model.adapters(), ", ", append_name))
      << '\n';
}

void PrintUse(const v1::GetModelResponse& model, std::ostream& out) {
  const v1::CacheInfo& cache = model.cache();
  out << absl::StreamFormat(
      "cache         %d pages of %d tokens (%s, %.1f MiB): %d free, %d cached, %d active\n",
      cache.total_pages(), cache.page_tokens(), cache.type(),
      cache.total_pages() * cache.bytes_per_page() / kMiB, cache.free_pages(), cache.cached_pages(),
      cache.active_pages());
  out << absl::StreamFormat("load          %d sequences running, %d requests waiting\n",
                            model.load().running_sequences(), model.load().waiting_requests());
  out << "server        " << model.server_version() << std::endl;
}

}  // namespace

ExitCode RunInfo(const Session& session) {
  v1::GetModelResponse model;
  const grpc::Status status = Call(session, [&](grpc::ClientContext* context) {
    return session.generation->GetModel(context, v1::GetModelRequest(), &model);
  });
  if (!status.ok()) return Report(session, status);
  if (session.json) {
    PrintJson(session, model);
  } else {
    PrintModel(model, *session.out);
    PrintUse(model, *session.out);
  }
  return ExitCode::kOk;
}

ExitCode RunHealth(const Session& session) {
  using grpc::health::v1::HealthCheckResponse;
  HealthCheckResponse response;
  const grpc::Status status = Call(session, [&](grpc::ClientContext* context) {
    return session.health->Check(context, grpc::health::v1::HealthCheckRequest(), &response);
  });
  if (!status.ok()) return Report(session, status);
  if (session.json) {
    PrintJson(session, response);
  } else {
    *session.out << HealthCheckResponse::ServingStatus_Name(response.status()) << std::endl;
  }
  return response.status() == HealthCheckResponse::SERVING ? ExitCode::kOk : ExitCode::kUnavailable;
}

}  // namespace sieve
