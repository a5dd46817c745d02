#include "tests/server/raw_http2.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace sieve {
namespace {

constexpr uint8_t kSettings = 4, kPing = 6;
constexpr uint8_t kAck = 1, kEndHeaders = 4;
constexpr uint32_t kStream = 1;

// HPACK: a literal header without indexing, neither name nor value compressed.
std::string Header(const std::string& name, const std::string& value) {
  std::string out(1, '\0');
  out += static_cast<char>(name.size());
  out += name;
  out += static_cast<char>(value.size());
  return out + value;
}

std::string BigEndian(uint32_t value, int bytes) {
  std::string out;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    out += static_cast<char>(value >> shift & 0xff);
  }
  return out;
}

}  // namespace

RawHttp2::RawHttp2(int port, uint32_t window) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  EXPECT_EQ(write(socket_, preface.data(), preface.size()), preface.size());
  const std::string kInitialWindowSize("\0\4", 2);
  Send(kSettings, 0, 0, kInitialWindowSize + BigEndian(window, 4));
}

RawHttp2::~RawHttp2() { close(socket_); }

void RawHttp2::Call(const std::string& path, const std::string& message,
                    const std::vector<std::pair<std::string, std::string>>& metadata) {
  std::string headers = Header(":method", "POST") + Header(":scheme", "http") +
                        Header(":path", path) + Header(":authority", "localhost") +
                        Header("te", "trailers") + Header("content-type", "application/grpc");
  for (const auto& [name, value] : metadata) headers += Header(name, value);
  Send(kHeaders, kEndHeaders, kStream, headers);
  Send(kData, kEndStream, kStream, std::string(1, '\0') + BigEndian(message.size(), 4) + message);
}

std::vector<RawHttp2::Frame> RawHttp2::ReadAll() {
  std::vector<Frame> frames;
  std::string head;
  while (Receive(9, &head)) {
    const auto byte = [&head](int i) { return static_cast<uint8_t>(head[i]); };
    Frame frame{.type = byte(3), .flags = byte(4), .payload = ""};
    if (!Receive(byte(0) << 16 | byte(1) << 8 | byte(2), &frame.payload)) break;
    if (frame.type == kSettings && !(frame.flags & kAck)) Send(kSettings, kAck, 0, "");
    if (frame.type == kPing && !(frame.flags & kAck)) Send(kPing, kAck, 0, frame.payload);
    if (frame.type != kData && frame.type != kHeaders) continue;
    frames.push_back(frame);
    if (frame.flags & kEndStream) break;
  }
  return frames;
}

void RawHttp2::Send(uint8_t type, uint8_t flags, uint32_t stream, const std::string& payload) {
  std::string frame = BigEndian(payload.size(), 3);
  frame += static_cast<char>(type);
  frame += static_cast<char>(flags);
  frame += BigEndian(stream, 4) + payload;
  EXPECT_EQ(write(socket_, frame.data(), frame.size()), frame.size());
}

bool RawHttp2::Receive(size_t size, std::string* bytes) {
  bytes->resize(size);
  return size == 0 || recv(socket_, bytes->data(), size, MSG_WAITALL) == size;
}

}  // namespace sieve
