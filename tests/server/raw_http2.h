#ifndef SIEVE_TESTS_SERVER_RAW_HTTP2_H_
#define SIEVE_TESTS_SERVER_RAW_HTTP2_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace sieve {

// As much of an HTTP/2 client as shows the frames that a gRPC call is answered with, which gRPC's
// own clients do not tell.
class RawHttp2 {
 public:
  // `window`: bytes of a stream that may be on their way before this client takes them; it never
  // allows more.
  explicit RawHttp2(int port, uint32_t window = 65535);  // of loopback
  ~RawHttp2();
  RawHttp2(const RawHttp2&) = delete;
  RawHttp2& operator=(const RawHttp2&) = delete;

  // Sends a call with one message. `metadata` is added to what gRPC asks for; not more than 126
  // bytes each.
  void Call(const std::string& path, const std::string& message,
            const std::vector<std::pair<std::string, std::string>>& metadata = {});

  struct Frame {
    uint8_t type = 0;
    uint8_t flags = 0;
    std::string payload;
  };
  static constexpr uint8_t kData = 0, kHeaders = 1;
  static constexpr uint8_t kEndStream = 1;

  // The stream's HEADERS and DATA frames, until it ends or the connection does.
  std::vector<Frame> ReadAll();

 private:
  void Send(uint8_t type, uint8_t flags, uint32_t stream, const std::string& payload);
  bool Receive(size_t size, std::string* bytes);

  int socket_ = -1;
};

}  // namespace sieve

#endif  // SIEVE_TESTS_SERVER_RAW_HTTP2_H_
