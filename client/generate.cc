#include "client/generate.h"

#include "client/text_printer.h"

namespace sieve {

grpc::Status StreamEvents(const Session& session, const v1::GenerateRequest& request,
                          const std::function<void(const v1::GenerateEvent&)>& on_event) {
  return Call(session, [&](grpc::ClientContext* context) {
    const auto reader = session.generation->Generate(context, request);
    v1::GenerateEvent event;
    while (reader->Read(&event)) on_event(event);
    return reader->Finish();
  });
}

ExitCode RunGenerate(const Session& session, const v1::GenerateRequest& request) {
  if (session.json) {
    return Report(session, StreamEvents(session, request, [&](const v1::GenerateEvent& event) {
                    PrintJson(session, event);
                  }));
  }
  TextPrinter printer(session, request.num_samples());
  const grpc::Status status = StreamEvents(
      session, request, [&](const v1::GenerateEvent& event) { printer.OnEvent(event); });
  printer.Finish();
  return Report(session, status);
}

}  // namespace sieve
