#include "client/compare.h"

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/answer_stats.h"
#include "grpcpp/client_context.h"

namespace sieve {
namespace {

constexpr char kBareModel[] = "bare model";

// The first request to a server that has just started pays for what no later one does: weights that
// are still on the disk, kernels and graphs that are made when first used.
v1::GenerateRequest WarmUpRequest() {
  v1::GenerateRequest request;
  request.mutable_text()->set_text("Good morning");
  request.mutable_sampling()->set_temperature(0);
  request.mutable_stop()->set_max_tokens(2);
  return request;
}

struct Side {
  std::string title;
  v1::GenerateRequest request;
  grpc::ClientContext context;
  AnswerStats stats;
  std::vector<int32_t> tokens;
  grpc::Status status;
};

void SetSampling(v1::SamplingParams* sampling) {
  if (!sampling->has_temperature()) sampling->set_temperature(0);
  if (sampling->has_seed()) return;
  std::random_device device;  // reads the system's generator; 32 bits a call
  sampling->set_seed(static_cast<uint64_t>(device()) << 32 | device());
}

class Comparison {
 public:
  Comparison(const Session& session, const v1::GenerateRequest& request,
             const CompareOptions& options)
      : session_(session), together_(options.together) {
    v1::GenerateRequest base = request;
    SetSampling(base.mutable_sampling());
    sides_[1].title = request.adapter();
    sides_[1].request = base;
    base.clear_adapter();
    sides_[0].title = kBareModel;
    sides_[0].request = std::move(base);
    const std::array<std::string, 2> titles = {sides_[0].title, sides_[1].title};
    if (session.json) return;
    view_ = options.terminal && options.terminal->columns >= kMinCompareColumns
                ? MakeColumnView(titles, *options.terminal, session.out)
                : MakeBlockView(titles, session.out);
  }

  ExitCode Run() {
    {
      Interrupt::Scope scope(session_.interrupt, [this] {
        warm_up_.TryCancel();
        for (Side& side : sides_) side.context.TryCancel();
      });
      WarmUp();
      if (together_) {
        std::thread other([this] { Stream(1); });
        Stream(0);
        other.join();
      } else {
        for (int side : {0, 1}) Stream(side);
      }
    }
    if (view_ != nullptr) {
      view_->Finish();
      PrintTable();
    }
    ExitCode code = ExitCode::kOk;
    for (const Side& side : sides_) {
      const ExitCode own = ReportSide(side);
      if (code == ExitCode::kOk) code = own;
    }
    return code;
  }

 private:
  void SetDeadline(grpc::ClientContext* context) {
    if (session_.timeout) {
      context->set_deadline(absl::ToChronoTime(absl::Now() + *session_.timeout));
    }
  }

  // Shows nothing: what is wrong with the server or the connection, the two answers tell as well.
  void WarmUp() {
    SetDeadline(&warm_up_);
    const auto reader = session_.generation->Generate(&warm_up_, WarmUpRequest());
    v1::GenerateEvent event;
    while (reader->Read(&event)) {
    }
    reader->Finish();
  }

  void Stream(int index) {
    Side& side = sides_[index];
    SetDeadline(&side.context);
    side.stats = AnswerStats();
    const auto reader = session_.generation->Generate(&side.context, side.request);
    v1::GenerateEvent event;
    while (reader->Read(&event)) {
      const std::lock_guard<std::mutex> lock(mutex_);
      OnEvent(index, event);
    }
    const grpc::Status status = reader->Finish();
    const std::lock_guard<std::mutex> lock(mutex_);
    side.status = status;
    if (view_ != nullptr) view_->End(index);
  }

  // REQUIRES: mutex_ is held.
  void OnEvent(int index, const v1::GenerateEvent& event) {
    Side& side = sides_[index];
    side.stats.OnEvent(event);
    const v1::Delta& delta = event.delta();
    side.tokens.insert(side.tokens.end(), delta.token_ids().begin(), delta.token_ids().end());
    if (view_ == nullptr) {
      PrintJsonLine(side, "event", ToJson(event));
    } else if (!delta.text().empty()) {
      view_->Append(index, delta.text());
    }
  }

  void PrintJsonLine(const Side& side, absl::string_view name, const std::string& value) {
    *session_.out << absl::StrCat("{\"adapter\":", ToJsonString(side.request.adapter()), ",\"",
                                  name, "\":", value, "}")
                  << std::endl;
  }

  ExitCode ReportSide(const Side& side) {
    if (!side.status.ok()) {
      *session_.err << "sieve: " << side.title << ": " << StatusCodeName(side.status.error_code())
                    << ": " << side.status.error_message() << std::endl;
      if (session_.json) PrintJsonLine(side, "error", ErrorToJson(side.status));
    }
    return ExitCodeFor(side.status);
  }

  // A row of the table; what is not known is "-".
  void PrintRow(absl::string_view name,
                const std::function<std::string(const AnswerStats&)>& value) {
    const auto cell = [&](const Side& side) {
      const std::string text = side.stats.tokens() > 0 ? value(side.stats) : "";
      return text.empty() ? "-" : text;
    };
    *session_.err << absl::StreamFormat("%-20s  %-20s  %s\n", name, cell(sides_[0]),
                                        cell(sides_[1]));
  }

  void PrintTable() {
    *session_.err << absl::StreamFormat("\n%-20s  %-20s  %s\n", "", sides_[0].title,
                                        sides_[1].title);
    PrintRow("time to first token", [](const AnswerStats& stats) {
      return absl::StrFormat("%.0f ms", absl::ToDoubleMilliseconds(*stats.time_to_first_token()));
    });
    PrintRow("tokens/s", [](const AnswerStats& stats) {
      const auto rate = stats.tokens_per_second();
      return rate ? absl::StrFormat("%.1f", *rate) : "";
    });
    PrintRow("tokens", [](const AnswerStats& stats) {
      return absl::StrFormat("%d, %s", stats.tokens(), stats.reasons());
    });
    PrintRow("prompt", [](const AnswerStats& stats) {
      return absl::StrFormat("%d, %d cached", stats.accepted().prompt_tokens(),
                             stats.accepted().cached_prompt_tokens());
    });
    PrintRow("keys read", [](const AnswerStats& stats) {
      return stats.reads() ? FormatDensity(*stats.reads()) : "";
    });
    PrintRow("cache read", [](const AnswerStats& stats) {
      return stats.reads() ? FormatReadBytes(*stats.reads()) : "";
    });
    if (together_) *session_.err << "the answers came at once and shared the server's steps\n";
    PrintAgreement();
  }

  void PrintAgreement() {
    const std::vector<int32_t>&a = sides_[0].tokens, &b = sides_[1].tokens;
    if (a.empty() || b.empty()) return;
    const size_t shorter = std::min(a.size(), b.size());
    const size_t same = std::mismatch(a.begin(), a.begin() + shorter, b.begin()).first - a.begin();
    if (same == a.size() && same == b.size()) {
      *session_.err << "all tokens are the same" << std::endl;
    } else {
      *session_.err << "the first " << same << " tokens are the same" << std::endl;
    }
  }

  const Session& session_;
  const bool together_;
  grpc::ClientContext warm_up_;
  std::array<Side, 2> sides_;
  std::mutex mutex_;                   // of the output and the sides, while they are streamed
  std::unique_ptr<CompareView> view_;  // null: lines of JSON
};

}  // namespace

ExitCode RunCompare(const Session& session, const v1::GenerateRequest& request,
                    const CompareOptions& options) {
  return Comparison(session, request, options).Run();
}

}  // namespace sieve
