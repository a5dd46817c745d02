#include "server/log/descriptor_sink.h"

#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "gtest/gtest.h"
#include "spdlog/details/log_msg.h"

namespace sieve {
namespace {

void Log(DescriptorSink* sink, const std::string& text) {
  sink->set_pattern("%v");
  sink->log(spdlog::details::log_msg("server", spdlog::level::info, text));
}

TEST(DescriptorSinkTest, WritesWholeLines) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  DescriptorSink sink(ends[1]);
  Log(&sink, "one");
  Log(&sink, "two");
  close(ends[1]);
  char buffer[100];
  EXPECT_EQ(std::string(buffer, read(ends[0], buffer, sizeof(buffer))), "one\ntwo\n");
  EXPECT_EQ(sink.lost(), 0);
  close(ends[0]);
}

TEST(DescriptorSinkTest, CountsWhatAFullDiskDoesNotTake) {
  const int full = open("/dev/full", O_WRONLY);
  ASSERT_GE(full, 0);
  DescriptorSink sink(full);
  Log(&sink, "one");
  Log(&sink, "two");
  EXPECT_EQ(sink.lost(), 2);
  close(full);
}

}  // namespace
}  // namespace sieve
