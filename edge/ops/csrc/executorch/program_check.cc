#include "executorch/program_check.h"

#include <algorithm>
#include <cinttypes>
#include <set>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "executorch/flatbuffer.h"
#include "executorch/program_data.h"
#include "executorch/program_flow.h"
#include "executorch/program_schema.h"
#include "executorch/program_steps.h"
#include "executorch/program_types.h"
#include "executorch/program_values.h"
#include "executorch/program_xnnpack.h"

namespace edge {
namespace program {
namespace {

using flatbuffer::List;
using flatbuffer::Table;
using flatbuffer::Tables;

bool is_name(std::string_view text) {
  return !text.empty() && text.size() < kMaxNameBytes && flatbuffer::is_printable(text);
}

class Check {
 public:
  Check(const uint8_t* file, const ProgramRuntime& runtime) : file_(file), runtime_(runtime) {}

  bool run(const Table& program, const Header& header, Error* error);
  const std::set<std::string>& missing_operators() const { return missing_; }

 private:
  bool check_plan(const Table& plan, Error* error);
  bool read_buffers(const Table& plan, std::vector<int64_t>* bytes, Error* error);
  bool read_operators(const Tables& operators, std::vector<Operator>* read, Error* error);
  bool read_delegates(const Tables& delegates, std::vector<Externals>* externals, Error* error) const;
  bool check_planned_bytes(Error* error) const;
  bool check_ends(const Table& plan, std::vector<Value>* values, Error* error) const;

  const uint8_t* file_;
  const ProgramRuntime& runtime_;
  Data data_;
  std::vector<int64_t> planned_bytes_;  // by buffer, of the method that needs most of it
  std::set<std::string> missing_;
};

bool Check::run(const Table& program, const Header& header, Error* error) {
  if (!data_.read(program, header, error)) return false;
  const Tables plans = program.tables(root::kPlans);
  for (uint32_t i = 0; i < plans.size(); ++i) {
    const std::string_view name = plans[i].text(plan::kName);
    if (!is_name(name)) return error->fail("method %u has no name that can be printed", i);
    Error why;
    if (!check_plan(plans[i], &why))
      return error->fail("method %.*s: %s", static_cast<int>(name.size()), name.data(), why.message);
  }
  return plans.size() == 0 ? error->fail("it has no methods") : check_planned_bytes(error);
}

// Bounds the memory that the program asks for before it has computed anything. Methods share it in Python.
bool Check::check_planned_bytes(Error* error) const {
  int64_t room = runtime_.max_planned_bytes;
  for (const int64_t bytes : planned_bytes_) {
    if (bytes > room)
      return error->fail("it plans more memory than the %" PRId64 " bytes it may have",
                         runtime_.max_planned_bytes);
    room -= bytes;
  }
  return true;
}

bool Check::check_plan(const Table& plan, Error* error) {
  const Tables delegates = plan.tables(plan::kDelegates);
  std::vector<int64_t> buffer_bytes;
  std::vector<Value> values;
  std::vector<Operator> operators;
  std::vector<Externals> externals;
  std::vector<Chain> chains;
  return read_buffers(plan, &buffer_bytes, error) && read_delegates(delegates, &externals, error) &&
         read_values(plan.tables(plan::kValues), data_, buffer_bytes, &values, error) &&
         check_ends(plan, &values, error) &&
         read_operators(plan.tables(plan::kOperators), &operators, error) &&
         (!missing_.empty() ||
          (read_chains(plan.tables(plan::kChains), {operators, values, delegates.size()}, &chains, error) &&
           check_types(chains, &values, error) && check_flow(chains, values, error) &&
           check_delegate_calls(chains, externals, values, error)));
}

bool Check::read_buffers(const Table& plan, std::vector<int64_t>* bytes, Error* error) {
  const List<int64_t> sizes = plan.list<int64_t>(plan::kBufferSizes);
  if (!sizes.present()) return error->fail("its planned buffers are missing");
  planned_bytes_.resize(std::max<size_t>(planned_bytes_.size(), sizes.size()));
  for (uint32_t i = 1; i < sizes.size(); ++i) {  // the first stands for the constants
    if (sizes[i] < 0) return error->fail("planned buffer %u has %" PRId64 " bytes", i, sizes[i]);
    bytes->push_back(sizes[i]);
    planned_bytes_[i] = std::max(planned_bytes_[i], sizes[i]);
  }
  const Tables devices = plan.tables(plan::kBufferDevices);
  for (uint32_t i = 0; i < devices.size(); ++i) {
    if (devices[i].scalar<int8_t>(buffer_device::kDevice) != kCpu)
      return error->fail("it plans memory of another device than the CPU");
  }
  return true;
}

bool Check::read_operators(const Tables& operators, std::vector<Operator>* read, Error* error) {
  for (uint32_t i = 0; i < operators.size(); ++i) {
    const std::string_view name = operators[i].text(op::kName), overload = operators[i].text(op::kOverload);
    // The runtime prints the overload of a kernel that fails, so it must be there, at least empty.
    if (overload.data() == nullptr) return error->fail("operator %u has no overload", i);
    std::string full(name);
    if (!overload.empty()) full.append(".").append(overload);
    if (!is_name(full) || name.empty()) return error->fail("operator %u has no name that can be printed", i);
    if (!runtime_.has_operator(full.c_str())) missing_.insert(full);
    read->push_back({full, find_signature(full)});
  }
  return true;
}

bool Check::read_delegates(const Tables& delegates, std::vector<Externals>* externals, Error* error) const {
  if (!delegates.present()) return error->fail("its delegates are missing");
  for (uint32_t i = 0; i < delegates.size(); ++i) {
    const Table table = delegates[i];
    Error why;
    if (!is_name(table.text(delegate::kId))) return error->fail("delegate %u has no name", i);
    Data::Extent bytes;
    externals->emplace_back();
    if (!data_.find_delegate_data(table.table(delegate::kProcessed), &bytes, &why) ||
        (table.text(delegate::kId) == kXnnpack &&
         !read_externals(file_ + bytes.at, bytes.bytes, data_, &externals->back(), &why)))
      return error->fail("delegate %u: %s", i, why.message);
    const Tables specs = table.tables(delegate::kSpecs);
    for (uint32_t j = 0; j < specs.size(); ++j) {
      if (specs[j].text(compile_spec::kKey).data() == nullptr ||
          !specs[j].list<uint8_t>(compile_spec::kValue).present())
        return error->fail("delegate %u: setting %u has no name or no value", i, j);
    }
  }
  return true;
}

// Checks inputs and outputs. Where they have no memory of their own, the caller gives it before the method
// runs: of an input as much as it is long then, so that no kernel may make it longer and write to it.
bool Check::check_ends(const Table& plan, std::vector<Value>* values, Error* error) const {
  const List<int32_t> inputs = plan.list<int32_t>(plan::kInputs),
                      outputs = plan.list<int32_t>(plan::kOutputs);
  if (!inputs.present() || !outputs.present()) return error->fail("its inputs or outputs are missing");
  for (const List<int32_t>& ends : {inputs, outputs}) {
    for (uint32_t i = 0; i < ends.size(); ++i) {
      if (ends[i] < 0 || static_cast<size_t>(ends[i]) >= values->size())
        return error->fail("an input or output is value %d, which does not exist", ends[i]);
    }
  }
  for (uint32_t i = 0; i < inputs.size(); ++i) {
    Value& value = (*values)[static_cast<size_t>(inputs[i])];
    if (value.read_only) return error->fail("input %u is a constant", i);
  }
  for (uint32_t i = 0; i < inputs.size(); ++i) {
    Value& value = (*values)[static_cast<size_t>(inputs[i])];
    value.is_input = true;
    value.has_data = true;
    value.read_only = !value.planned;
  }
  for (uint32_t i = 0; i < outputs.size(); ++i) (*values)[static_cast<size_t>(outputs[i])].has_data = true;
  return true;
}

}  // namespace
}  // namespace program

ProgramVerdict check_program(const uint8_t* data, size_t size, const ProgramRuntime& runtime) {
  Error error;
  program::Header header;
  program::Check check(data, runtime);
  if (!program::read_header(data, size, &header, &error)) return {ProgramStatus::kUnusable, error.message};
  flatbuffer::Buffer buffer(data, header.flatbuffer_bytes);
  const bool usable = check.run(buffer.root(), header, &error);
  if (buffer.damaged()) return {ProgramStatus::kUnusable, "its tables are damaged: an offset leads nowhere"};
  if (!usable) return {ProgramStatus::kUnusable, error.message};
  std::string missing;
  for (const std::string& name : check.missing_operators()) missing += (missing.empty() ? "" : ", ") + name;
  if (!missing.empty()) return {ProgramStatus::kLacksOperators, missing};
  return {};
}

}  // namespace edge
