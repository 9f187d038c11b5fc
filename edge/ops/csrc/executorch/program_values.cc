#include "executorch/program_values.h"

#include <algorithm>

namespace edge::program {

using flatbuffer::List;
using flatbuffer::Table;
using flatbuffer::Tables;

namespace {

// Computes the bytes of a tensor; false unless sizes and order of dimensions are those of a tensor whose
// strides are int32, as the runtime's are.
bool tensor_bytes(const Table& table, int64_t element, uint64_t* bytes, Error* error) {
  const List<int32_t> sizes = table.list<int32_t>(tensor::kSizes);
  const List<uint8_t> order = table.list<uint8_t>(tensor::kDimOrder);
  if (!sizes.present() || !order.present() || sizes.size() != order.size() || sizes.size() > kMaxDims)
    return error->fail("it has %u sizes and an order of %u dimensions", sizes.size(), order.size());
  int64_t stride = 1;  // in elements; an empty dimension counts as one
  bool empty = false;
  uint32_t seen = 0;
  for (uint32_t i = order.size(); i-- > 0;) {
    const uint8_t dim = order[i];
    if (dim >= sizes.size() || (seen >> dim & 1) != 0)
      return error->fail("its order of dimensions is no permutation");
    seen |= 1u << dim;
    if (sizes[dim] < 0) return error->fail("it has a size of %d", sizes[dim]);
    if (stride > INT32_MAX) return error->fail("its strides exceed 32 bits");
    stride *= std::max(sizes[dim], 1);
    empty = empty || sizes[dim] == 0;
  }
  if (stride > INT64_MAX / element) return error->fail("its size overflows");
  *bytes = empty ? 0 : static_cast<uint64_t>(stride * element);
  return true;
}

bool in_planned_buffer(const Table& where, uint64_t bytes, int64_t element,
                       const std::vector<int64_t>& buffer_bytes, Error* error) {
  const auto id = where.scalar<uint32_t>(allocation::kMemoryId);
  const uint64_t at = where.scalar<uint32_t>(allocation::kOffsetLow) |
                      static_cast<uint64_t>(where.scalar<uint32_t>(allocation::kOffsetHigh)) << 32;
  if (id < 1 || id > buffer_bytes.size())
    return error->fail("it lies in planned buffer %u of %zu", id, buffer_bytes.size());
  const auto room = static_cast<uint64_t>(buffer_bytes[id - 1]);
  if (at > room || bytes > room - at) return error->fail("it lies beyond its planned buffer");
  if (at % static_cast<uint64_t>(element) != 0) return error->fail("it is not aligned in its planned buffer");
  return true;
}

bool read_tensor(const Table& table, const Data& data, const std::vector<int64_t>& buffer_bytes, Value* value,
                 Error* error) {
  value->scalar_type = table.scalar<int8_t>(tensor::kScalarType);
  const int64_t element = element_bytes(value->scalar_type);
  if (element == 0) return error->fail("it has the unknown scalar type %d", value->scalar_type);
  if (table.scalar<int32_t>(tensor::kStorageOffset) != 0) return error->fail("its data starts at an offset");
  if (table.scalar<int8_t>(tensor::kDynamism) >= kDynamicUnbound) return error->fail("its size has no bound");
  const Table extra = table.table(tensor::kExtra);
  if (extra.scalar<int8_t>(extra_tensor_info::kLocation) == kExternal)
    return error->fail("its data is in another file, which this runtime does not load");
  if (extra.scalar<int8_t>(extra_tensor_info::kDevice) != kCpu) return error->fail("it is not on the CPU");
  uint64_t bytes = 0;
  if (!tensor_bytes(table, element, &bytes, error)) return false;
  value->dims = static_cast<uint8_t>(table.list<int32_t>(tensor::kSizes).size());
  value->empty = bytes == 0;
  const auto index = table.scalar<uint32_t>(tensor::kDataIndex);
  const Table where = table.table(tensor::kAllocation);
  value->planned = where.present();
  value->has_data = index > 0 || value->planned;
  value->read_only = index > 0 && !value->planned;
  if (value->read_only) return data.has_constant(index, bytes, static_cast<uint64_t>(element), error);
  return (!value->planned || in_planned_buffer(where, bytes, element, buffer_bytes, error)) &&
         (index == 0 || data.has_initial_state(index, bytes, error));
}

template <class T>
bool read_items(const Table& table, Value* value, Error* error) {
  const List<T> items = table.list<T>(content::kOnly);
  if (!items.present()) return error->fail("it is a list without items");
  value->items.reserve(items.size());
  for (uint32_t i = 0; i < items.size(); ++i) {
    if (items[i] < -1 || items[i] > INT32_MAX) return error->fail("it lists no value");
    value->items.push_back(static_cast<int32_t>(items[i]));
  }
  return true;
}

bool read_value(const Table& table, const Data& data, const std::vector<int64_t>& buffer_bytes, Value* value,
                Error* error) {
  const Table inner = table.table(evalue::kValue);
  value->kind = static_cast<Kind>(table.scalar<uint8_t>(evalue::kType));
  if (!inner.present() && value->kind != Kind::kNone) return error->fail("it is missing");
  switch (value->kind) {
    case Kind::kNone:
    case Kind::kBool:
    case Kind::kDouble:
      return true;
    case Kind::kInt:
      value->integer = inner.scalar<int64_t>(content::kOnly);
      return true;
    case Kind::kTensor:
      return read_tensor(inner, data, buffer_bytes, value, error);
    case Kind::kString:
      return inner.text(content::kOnly).data() != nullptr || error->fail("it is a string without text");
    case Kind::kIntList:
      return read_items<int64_t>(inner, value, error);
    case Kind::kTensorList:
    case Kind::kOptionalTensorList:
      return read_items<int32_t>(inner, value, error);
    case Kind::kDoubleList:
      return inner.list<double>(content::kOnly).present() || error->fail("it is a list without items");
    case Kind::kBoolList:
      return inner.list<uint8_t>(content::kOnly).present() || error->fail("it is a list without items");
    default:
      return error->fail("it has the unknown type %d", static_cast<int>(value->kind));
  }
}

// Whether a list may have this item. The runtime fills values in order, so a list of tensors follows them.
bool may_list(const std::vector<Value>& values, size_t list, int32_t item) {
  const Kind kind = values[list].kind;
  if (item == -1) return kind == Kind::kOptionalTensorList;
  const auto index = static_cast<size_t>(item);
  if (index >= values.size()) return false;
  const Kind found = values[index].kind;
  if (kind == Kind::kIntList) return found == Kind::kInt;
  return index < list &&
         (found == Kind::kTensor || (kind == Kind::kOptionalTensorList && found == Kind::kNone));
}

}  // namespace

bool read_values(const Tables& values, const Data& data, const std::vector<int64_t>& buffer_bytes,
                 std::vector<Value>* read, Error* error) {
  read->resize(values.size());
  for (uint32_t i = 0; i < values.size(); ++i) {
    Error why;
    if (!read_value(values[i], data, buffer_bytes, &(*read)[i], &why))
      return error->fail("value %u: %s", i, why.message);
  }
  for (size_t list = 0; list < read->size(); ++list) {
    for (const int32_t item : (*read)[list].items) {
      if (!may_list(*read, list, item))
        return error->fail("value %zu: it lists value %d, which has another type", list, item);
    }
  }
  return true;
}

}  // namespace edge::program
