#ifndef SIEVE_SERVER_MESSAGE_BUFFER_H_
#define SIEVE_SERVER_MESSAGE_BUFFER_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "grpcpp/impl/codegen/proto_utils.h"
#include "grpcpp/support/byte_buffer.h"

namespace sieve {

// Messages are parsed here and not by gRPC, which answers UNIMPLEMENTED without a word to what it
// cannot parse.
template <typename Message>
absl::StatusOr<Message> ParseMessage(const grpc::ByteBuffer& buffer) {
  grpc::ByteBuffer bytes = buffer;  // shares the slices
  Message message;
  if (grpc::SerializationTraits<Message>::Deserialize(&bytes, &message).ok()) return message;
  return absl::InvalidArgumentError(absl::StrCat(
      "the request of ", buffer.Length(), " bytes is not a well-formed ",
      Message::descriptor()->full_name(), " message, or a string field in it is not valid UTF-8"));
}

template <typename Message>
grpc::ByteBuffer SerializeMessage(const Message& message) {
  grpc::ByteBuffer buffer;
  bool owned = false;
  grpc::SerializationTraits<Message>::Serialize(message, &buffer, &owned);
  return buffer;
}

}  // namespace sieve

#endif  // SIEVE_SERVER_MESSAGE_BUFFER_H_
