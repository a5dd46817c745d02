#include "tests/fuzz/proto_mutator.h"

#include <cmath>
#include <cstddef>
#include <iterator>
#include <limits>
#include <random>
#include <string>

#include "google/protobuf/descriptor.h"

namespace sieve {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr int64_t kIntegers[] = {0,
                                 1,
                                 2,
                                 -1,
                                 3,
                                 16,
                                 64,
                                 100,
                                 127,
                                 128,
                                 255,
                                 256,
                                 257,
                                 1000,
                                 1024,
                                 INT32_MAX,
                                 INT32_MIN,
                                 INT64_MAX,
                                 INT64_MIN,
                                 int64_t{1} << 32,
                                 -100,
                                 101,
                                 315576000000,
                                 999999999,
                                 1000000000};
constexpr double kNumbers[] = {0.0,   -0.0,    1.0,      0.5,      -1.0,      2.0,   10.0,
                               -10.0, 100.0,   1000.0,   -1e3,     1e30,      -1e30, 1e-45,
                               1e300, 100.001, 9.999999, INFINITY, -INFINITY, NAN};
constexpr const char* kTexts[] = {"",           "x",        "stop", "\n",           "tiny",
                                  "<|im_end|>", "\xC3\xA9", "\xFF", "\xED\xA0\x80", "{{ x }}",
                                  "req-1",      "\x7F"};
// Longer than what stop texts and ids may be.
constexpr size_t kLongText = 300;

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  void Mutate(Message* message) {
    const auto* type = message->GetDescriptor();
    if (type->field_count() == 0) return;
    const FieldDescriptor* field = type->field(Below(type->field_count()));
    const Reflection* reflection = message->GetReflection();
    if (Below(12) == 0) return reflection->ClearField(message, field);
    field->is_repeated() ? MutateRepeated(message, field) : MutateSingle(message, field);
  }

 private:
  size_t Below(size_t n) { return random_() % n; }
  template <typename T>
  T Integer() {
    return static_cast<T>(Below(4) == 0 ? random_() : kIntegers[Below(std::size(kIntegers))]);
  }
  double Number() { return kNumbers[Below(std::size(kNumbers))]; }
  std::string Text() {
    if (Below(16) == 0) return std::string(kLongText, 'y');
    std::string text = kTexts[Below(std::size(kTexts))];
    if (Below(3) == 0) text += kTexts[Below(std::size(kTexts))];
    return text;
  }

  void MutateSingle(Message* message, const FieldDescriptor* field) {
    const Reflection* reflection = message->GetReflection();
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return Mutate(reflection->MutableMessage(message, field));
      case FieldDescriptor::CPPTYPE_STRING:
        return reflection->SetString(message, field, Text());
      case FieldDescriptor::CPPTYPE_INT32:
        return reflection->SetInt32(message, field, Integer<int32_t>());
      case FieldDescriptor::CPPTYPE_INT64:
        return reflection->SetInt64(message, field, Integer<int64_t>());
      case FieldDescriptor::CPPTYPE_UINT32:
        return reflection->SetUInt32(message, field, Integer<uint32_t>());
      case FieldDescriptor::CPPTYPE_UINT64:
        return reflection->SetUInt64(message, field, Integer<uint64_t>());
      case FieldDescriptor::CPPTYPE_FLOAT:
        return reflection->SetFloat(message, field, static_cast<float>(Number()));
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return reflection->SetDouble(message, field, Number());
      case FieldDescriptor::CPPTYPE_BOOL:
        return reflection->SetBool(message, field, Below(2) == 0);
      case FieldDescriptor::CPPTYPE_ENUM:
        return reflection->SetEnumValue(message, field, Below(8) == 0 ? -7 : Below(5));
    }
  }

  void MutateRepeated(Message* message, const FieldDescriptor* field) {
    const Reflection* reflection = message->GetReflection();
    const int size = reflection->FieldSize(*message, field);
    if (size > 0 && Below(4) == 0) return reflection->RemoveLast(message, field);
    for (size_t more = Below(16) == 0 ? 1 + Below(80) : 1; more > 0; --more) {
      switch (field->cpp_type()) {
        case FieldDescriptor::CPPTYPE_MESSAGE: {
          const bool old = size > 0 && Below(2) == 0;
          Mutate(old ? reflection->MutableRepeatedMessage(message, field, Below(size))
                     : reflection->AddMessage(message, field));
          break;
        }
        case FieldDescriptor::CPPTYPE_STRING:
          reflection->AddString(message, field, Text());
          break;
        case FieldDescriptor::CPPTYPE_INT32:
          reflection->AddInt32(message, field, Integer<int32_t>());
          break;
        default:
          return;  // no other repeated fields in the requests
      }
    }
  }

  std::mt19937_64 random_;
};

}  // namespace

void MutateMessage(uint64_t seed, Message* message) { Mutator(seed).Mutate(message); }

}  // namespace sieve
