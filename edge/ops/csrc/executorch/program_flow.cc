#include "executorch/program_flow.h"

#include <map>

namespace edge::program {
namespace {

// Walks a chain once, in order. A jump forwards may skip what would have given a tensor its memory, so the
// tensors that have it at a step are those that have it on every way there. A jump backwards comes from a
// step that was reached through its destination, and no instruction takes memory away, so it adds no way with
// less.
class Flow {
 public:
  explicit Flow(const std::vector<Value>& values);

  bool walk(const Chain& chain, Error* error);

 private:
  using Ready = std::vector<bool>;  // by place among the late tensors

  bool check(const Step& step, Error* error) const;
  bool readable(int32_t index) const;
  void advance(const Step& step);
  bool jump(const Step& step, size_t from, Error* error);
  void arrive(size_t step);

  const std::vector<Value>& values_;
  std::vector<size_t>
      late_;  // of every value its place among the late tensors: those without memory at first
  Ready ready_;
  std::map<size_t, Ready> ways_;  // by destination of the jumps that were met
};

constexpr size_t kNotLate = SIZE_MAX;
constexpr size_t kMaxRecords = 1 << 20;  // places for jumps times late tensors; an exporter needs a few dozen

Flow::Flow(const std::vector<Value>& values) : values_(values), late_(values.size(), kNotLate) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i].kind != Kind::kTensor || values[i].has_data || values[i].empty) continue;
    late_[i] = ready_.size();
    ready_.push_back(false);
  }
}

bool Flow::walk(const Chain& chain, Error* error) {
  ways_.clear();
  for (size_t i = 0; i < chain.size(); ++i) {
    arrive(i);
    Error why;
    if (!check(chain[i], &why) || !jump(chain[i], i, &why))
      return error->fail("instruction %zu: %s", i, why.message);
    advance(chain[i]);
  }
  arrive(chain.size());
  return true;
}

// Joins the ways that jumped here with the one that comes from the step before.
void Flow::arrive(size_t step) {
  const auto way = ways_.find(step);
  if (way == ways_.end()) return;
  for (size_t i = 0; i < ready_.size(); ++i) ready_[i] = ready_[i] && way->second[i];
}

bool Flow::jump(const Step& step, size_t from, Error* error) {
  if (step.type != Instruction::kJumpFalse || ready_.empty() || step.destination <= from) return true;
  const auto [way, added] = ways_.try_emplace(step.destination, ready_);
  for (size_t i = 0; !added && i < ready_.size(); ++i) way->second[i] = way->second[i] && ready_[i];
  return ways_.size() * ready_.size() <= kMaxRecords || error->fail("it jumps too often");
}

void Flow::advance(const Step& step) {
  const bool stands_for = step.result() == 'a' || step.result() == 'v';
  if (step.type != Instruction::kMove && !stands_for) return;
  const int32_t target = stands_for ? step.arguments.back() : step.to;
  const size_t late = late_[static_cast<size_t>(target)];
  if (late != kNotLate) ready_[late] = true;
}

bool Flow::check(const Step& step, Error* error) const {
  if (step.type == Instruction::kMove && !readable(step.from))
    return error->fail("it moves value %d, which has no data yet", step.from);
  const bool has_result = step.result() != '\0' && step.result() != 'o';  // behind the arguments
  const size_t count = step.arguments.size() - (has_result ? 1 : 0);
  for (size_t i = 0; i < count; ++i) {
    if (!readable(step.arguments[i]))
      return error->fail("argument %zu is value %d, which has no data yet", i, step.arguments[i]);
  }
  return true;
}

bool Flow::readable(int32_t index) const {
  const auto at = static_cast<size_t>(index);
  if (late_[at] != kNotLate) return ready_[late_[at]];
  const Kind kind = values_[at].kind;
  if (kind != Kind::kTensorList && kind != Kind::kOptionalTensorList) return true;
  for (const int32_t item : values_[at].items) {
    if (item >= 0 && !readable(item)) return false;  // an item is no list
  }
  return true;
}

}  // namespace

bool check_flow(const std::vector<Chain>& chains, const std::vector<Value>& values, Error* error) {
  Flow flow(values);
  for (const Chain& chain : chains) {
    if (!flow.walk(chain, error)) return false;
  }
  return true;
}

}  // namespace edge::program
