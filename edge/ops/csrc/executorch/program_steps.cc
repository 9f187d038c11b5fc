#include "executorch/program_steps.h"

#include <cstring>

namespace edge::program {

using flatbuffer::List;
using flatbuffer::Table;
using flatbuffer::Tables;

namespace {

bool in_range(int64_t index, size_t size) {
  return index >= 0 && static_cast<uint64_t>(index) < size;
}

bool read_value_index(const Table& table, int field, const Parts& parts, int32_t* index, Error* error) {
  *index = table.scalar<int32_t>(field);
  return in_range(*index, parts.values.size()) ||
         error->fail("it uses value %d, which does not exist", *index);
}

bool read_arguments(const Table& call, const Parts& parts, Step* step, Error* error) {
  const List<int32_t> list = call.list<int32_t>(call::kArguments);
  if (!list.present()) return error->fail("its arguments are missing");
  step->arguments.reserve(list.size());
  for (uint32_t i = 0; i < list.size(); ++i) {
    if (!in_range(list[i], parts.values.size()))
      return error->fail("argument %u is value %d, which does not exist", i, list[i]);
    step->arguments.push_back(list[i]);
  }
  return true;
}

bool read_kernel_call(const Table& call, const Parts& parts, Step* step, Error* error) {
  const auto index = call.scalar<int32_t>(call::kIndex);
  if (!in_range(index, parts.operators.size()))
    return error->fail("it calls operator %d, which does not exist", index);
  step->op = &parts.operators[static_cast<size_t>(index)];
  const Signature* signature = step->op->signature;
  if (signature == nullptr)
    return error->fail("nothing is known of the arguments of %s; list it in edge/ops/signatures.py",
                       step->op->name.c_str());
  const size_t wanted = std::strlen(signature->arguments) + std::strlen(signature->result);
  if (!read_arguments(call, parts, step, error)) return false;
  return step->arguments.size() == wanted ||
         error->fail("%s gets %zu arguments and takes %zu", signature->name, step->arguments.size(), wanted);
}

bool read_delegate_call(const Table& call, const Parts& parts, Step* step, Error* error) {
  step->delegate = call.scalar<int32_t>(call::kIndex);
  if (!in_range(step->delegate, parts.delegates))
    return error->fail("it calls delegate %d, which does not exist", step->delegate);
  return read_arguments(call, parts, step, error);
}

bool read_jump(const Table& table, const Parts& parts, size_t steps, Step* step, Error* error) {
  const auto destination = table.scalar<int32_t>(jump::kDestination);
  if (!in_range(destination, steps + 1)) return error->fail("it jumps out of its chain");
  step->destination = static_cast<size_t>(destination);
  return read_value_index(table, jump::kCondition, parts, &step->condition, error);
}

bool read_step(const Table& table, const Parts& parts, size_t steps, Step* step, Error* error) {
  const Table inner = table.table(instruction::kArguments);
  if (!inner.present()) return error->fail("it is missing");
  step->type = static_cast<Instruction>(table.scalar<uint8_t>(instruction::kType));
  switch (step->type) {
    case Instruction::kKernelCall:
      return read_kernel_call(inner, parts, step, error);
    case Instruction::kDelegateCall:
      return read_delegate_call(inner, parts, step, error);
    case Instruction::kMove:
      return read_value_index(inner, move::kFrom, parts, &step->from, error) &&
             read_value_index(inner, move::kTo, parts, &step->to, error);
    case Instruction::kJumpFalse:
      return read_jump(inner, parts, steps, step, error);
    case Instruction::kFree:  // only of tensors without a bound, which this runtime does not load
      return error->fail("it frees a tensor");
    default:
      return error->fail("it has the unknown type %d", static_cast<int>(step->type));
  }
}

}  // namespace

bool read_chains(const Tables& chains, const Parts& parts, std::vector<Chain>* read, Error* error) {
  for (uint32_t c = 0; c < chains.size(); ++c) {
    const Tables steps = chains[c].tables(chain::kInstructions);
    if (!steps.present()) return error->fail("chain %u has no instructions", c);
    read->emplace_back(steps.size());
    for (uint32_t i = 0; i < steps.size(); ++i) {
      Error why;
      if (!read_step(steps[i], parts, steps.size(), &read->back()[i], &why))
        return error->fail("instruction %u: %s", i, why.message);
    }
  }
  return !read->empty() || error->fail("it has no instructions");
}

}  // namespace edge::program
