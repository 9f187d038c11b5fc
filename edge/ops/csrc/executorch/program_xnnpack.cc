#include "executorch/program_xnnpack.h"

#include <cstring>

namespace edge::program {

using flatbuffer::Table;
using flatbuffer::Tables;

namespace {

// The header of a delegate's data, and fields of the tables of XNNPACK's graph.
constexpr uint64_t kXnnMagicAt = 4, kGraphOffsetAt = 10, kGraphSizeAt = 14, kXnnHeaderBytes = 30;
constexpr int kGraphValues = 2, kGraphConstants = 8;
constexpr int kConstantSize = 1, kConstantName = 2;
constexpr int kValueType = 0, kValue = 1;  // a union
constexpr int kPlain = 1, kQuantized = 2;  // of the union
constexpr int kQuantizedTensor = 0;        // of a quantized value: the plain one
constexpr int kDatatype = 0, kDims = 2, kConstantIndex = 3, kExternalId = 4, kFlags = 5;
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

// Bits of an element of XNNPACK's types that constants have; 0 of others, whose size is not checked.
uint64_t xnn_constant_bits(int16_t datatype) {
  switch (datatype) {
    case 6:  // qcint8
      return 8;
    case 7:  // qcint32
      return 32;
    case 8:   // qcint4
    case 10:  // qbint4
      return 4;
    default:
      return 8 * static_cast<uint64_t>(xnn_element_bytes(datatype));
  }
}

// XNNPACK copies as many bytes as the shape says, from wherever the index leads.
bool check_constant(const Table& value, const Tables& constants, const Data& program_data, Error* error) {
  const auto index = value.scalar<uint32_t>(kConstantIndex);
  if (index == 0 || !constants.present()) return true;
  if (index >= constants.size()) return error->fail("its graph has no constant %u", index);
  const std::string_view name = constants[index].text(kConstantName);
  const uint64_t room = name.data() == nullptr ? constants[index].scalar<uint64_t>(kConstantSize)
                                               : program_data.named_bytes(name);
  const flatbuffer::List<uint32_t> dims = value.list<uint32_t>(kDims);
  uint64_t bits = xnn_constant_bits(value.scalar<int16_t>(kDatatype));
  for (uint32_t i = 0; i < dims.size(); ++i) {
    if (dims[i] != 0 && bits > UINT64_MAX / dims[i]) return error->fail("a constant of its graph overflows");
    bits *= dims[i];
  }
  return (name.data() == nullptr || room > 0) && bits / 8 <= room
             ? true
             : error->fail("constant %u of its graph is missing or too short", index);
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

bool read_externals(const uint8_t* data, uint64_t size, const Data& program_data, Externals* externals,
                    Error* error) {
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
  const Table root = buffer.root();
  const Tables graph = root.tables(kGraphValues), constants = root.tables(kGraphConstants);
  for (uint32_t i = 0; i < constants.size(); ++i) {
    if (!flatbuffer::is_printable(constants[i].text(kConstantName)))
      return error->fail("constant %u of its graph has a name that is no text", i);
  }
  for (uint32_t i = 0; i < graph.size(); ++i) {
    Table value = graph[i].table(kValue);
    const auto type = graph[i].scalar<uint8_t>(kValueType);
    if (type == kQuantized) value = value.table(kQuantizedTensor);
    if (!value.present() || (type != kPlain && type != kQuantized))
      return error->fail("value %u of its graph is missing", i);
    if (!check_constant(value, constants, program_data, error)) return false;
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
