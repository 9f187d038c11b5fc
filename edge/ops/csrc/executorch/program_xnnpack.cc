#include "executorch/program_xnnpack.h"

#include <cstring>

namespace edge::program {

using flatbuffer::Table;
using flatbuffer::Tables;

namespace {

// The header of a delegate's data, and fields of the tables of XNNPACK's graph.
constexpr uint64_t kXnnMagicAt = 4, kGraphOffsetAt = 10, kGraphSizeAt = 14, kXnnHeaderBytes = 30;
constexpr int kGraphValues = 2;
constexpr int kValueType = 0, kValue = 1;  // a union
constexpr int kPlain = 1, kQuantized = 2;  // of the union
constexpr int kQuantizedTensor = 0;        // of a quantized value: the plain one
constexpr int kDatatype = 0, kExternalId = 4, kFlags = 5;
constexpr uint32_t kInputFlag = 1, kOutputFlag = 2;

// Bytes of an element of XNNPACK's types that can be arguments; 0 of others.
int xnn_element_bytes(int16_t datatype) {
  switch (datatype) {
    case 1:   // fp32
    case 5:   // qint32
    case 12:  // int32
      return 4;
    case 2:  // fp16
      return 2;
    case 3:  // qint8
    case 4:  // quint8
      return 1;
    default:
      return 0;
  }
}

bool check_call(const Step& step, const Externals& externals, const std::vector<Value>& values,
                Error* error) {
  for (const External& external : externals) {
    if (external.argument >= step.arguments.size())
      return error->fail("its delegate uses argument %u of %zu", external.argument, step.arguments.size());
    const Value& value = values[static_cast<size_t>(step.arguments[external.argument])];
    if (value.kind != Kind::kTensor || element_bytes(value.scalar_type) < external.element_bytes ||
        (external.written && value.read_only))
      return error->fail("its delegate cannot take argument %u", external.argument);
  }
  return true;
}

}  // namespace

bool read_externals(const uint8_t* data, uint64_t size, Externals* externals, Error* error) {
  if (size < kXnnHeaderBytes) return error->fail("its data is too short");
  if (std::memcmp(data + kXnnMagicAt, "XH00", 4) == 0) {
    uint32_t offset = 0, bytes = 0;
    std::memcpy(&offset, data + kGraphOffsetAt, sizeof(offset));
    std::memcpy(&bytes, data + kGraphSizeAt, sizeof(bytes));
    if (offset > size || bytes > size - offset) return error->fail("its graph lies beyond its data");
    data += offset;
    size = bytes;
  }
  if (size < 8 || (std::memcmp(data + 4, "XN00", 4) != 0 && std::memcmp(data + 4, "XN01", 4) != 0))
    return error->fail("its data is no graph of XNNPACK");
  flatbuffer::Buffer buffer(data, size);
  const Tables graph = buffer.root().tables(kGraphValues);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    Table value = graph[i].table(kValue);
    const auto type = graph[i].scalar<uint8_t>(kValueType);
    if (type == kQuantized) value = value.table(kQuantizedTensor);
    if (!value.present() || (type != kPlain && type != kQuantized))
      return error->fail("value %u of its graph is missing", i);
    const auto flags = value.scalar<uint32_t>(kFlags);
    if ((flags & (kInputFlag | kOutputFlag)) == 0) continue;
    const int bytes = xnn_element_bytes(value.scalar<int16_t>(kDatatype));
    if (bytes == 0) return error->fail("value %u of its graph has a type that no argument has", i);
    externals->push_back({value.scalar<uint32_t>(kExternalId), bytes, (flags & kOutputFlag) != 0});
  }
  return !buffer.damaged() || error->fail("its graph is damaged: an offset leads nowhere");
}

bool check_delegate_calls(const std::vector<Chain>& chains, const std::vector<Externals>& externals,
                          const std::vector<Value>& values, Error* error) {
  for (const Chain& chain : chains) {
    for (size_t i = 0; i < chain.size(); ++i) {
      Error why;
      if (chain[i].type == Instruction::kDelegateCall &&
          !check_call(chain[i], externals[static_cast<size_t>(chain[i].delegate)], values, &why))
        return error->fail("instruction %zu: %s", i, why.message);
    }
  }
  return true;
}

}  // namespace edge::program
