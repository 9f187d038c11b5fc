#include "executorch/program_types.h"

#include <cctype>

namespace edge::program {
namespace {

class Types {
 public:
  explicit Types(std::vector<Value>* values) : values_(*values) {}

  bool follow(const std::vector<Chain>& chains, Error* error);
  bool check(const Step& step, Error* error) const;

 private:
  Value& at(int32_t index) { return values_[static_cast<size_t>(index)]; }
  const Value& at(int32_t index) const { return values_[static_cast<size_t>(index)]; }

  void follow_step(const Step& step);
  void stand_for(int32_t target, int32_t source);
  void make_number(int32_t target, Kind kind);
  Kind number_of(const Step& step) const;

  bool check_kernel_call(const Step& step, Error* error) const;
  bool check_result(const Step& step, Error* error) const;
  bool check_stand_in(int32_t target, int32_t source, Error* error) const;
  bool accepts(char letter, const Value& value, const Value& first) const;
  bool accepts_number(char letter, const Value& value, const Value& first) const;
  bool lists_writable(const Value& list) const;
  bool lists_integers(const Value& list) const;

  std::vector<Value>& values_;
  bool changed_ = false;
};

void set(bool* flag, bool* changed) {
  *changed = *changed || !*flag;
  *flag = true;
}

// Repeats until nothing new is learned. What is learned flows with the instructions, so a program as an
// exporter writes it needs two or three rounds, also with loops; a made-up one could take as many as it has
// instructions.
bool Types::follow(const std::vector<Chain>& chains, Error* error) {
  constexpr int kMaxRounds = 16;
  for (int round = 0; round < kMaxRounds; ++round) {
    changed_ = false;
    for (const Chain& chain : chains) {
      for (const Step& step : chain) follow_step(step);
    }
    if (!changed_) return true;
  }
  return error->fail("the types of its values depend on each other in circles");
}

void Types::follow_step(const Step& step) {
  if (step.type == Instruction::kMove) return stand_for(step.to, step.from);
  if (step.type != Instruction::kKernelCall) return;
  const int32_t target = step.arguments.back();
  switch (step.result()) {
    case 'a':
      return stand_for(target, step.arguments.front());
    case 'v':  // it has the memory of another tensor, which may be smaller than a kernel would make it
      return set(&at(target).read_only, &changed_);
    case 'i':
      return make_number(target, Kind::kInt);
    case 'd':
      return make_number(target, Kind::kDouble);
    case 'b':
      return make_number(target, Kind::kBool);
    case 'u':
      return make_number(target, number_of(step));
    default:
      return;
  }
}

// Afterwards the target is the source: the runtime copies the value, of a tensor the reference to it.
void Types::stand_for(int32_t target, int32_t source) {
  if (at(source).read_only) set(&at(target).read_only, &changed_);
  if (at(source).any_number) set(&at(target).any_number, &changed_);
  set(&at(target).written, &changed_);
}

void Types::make_number(int32_t target, Kind kind) {
  set(&at(target).written, &changed_);
  if (kind != at(target).kind) set(&at(target).any_number, &changed_);
}

// The type of the last two arguments; kNotSet where it is not certain.
Kind Types::number_of(const Step& step) const {
  const size_t count = step.arguments.size() - 1;
  Kind kind = Kind::kNotSet;
  for (size_t i = count > 2 ? count - 2 : 0; i < count; ++i) {
    const Value& value = at(step.arguments[i]);
    Kind found = value.any_number ? Kind::kNotSet : value.kind;
    if (value.kind == Kind::kTensor && value.scalar_type == kBoolType) found = Kind::kBool;
    if (value.kind == Kind::kTensor && value.scalar_type != kBoolType)
      found = is_integer(value.scalar_type) ? Kind::kInt : Kind::kDouble;
    if (found == Kind::kNotSet || (kind != Kind::kNotSet && found != kind)) return Kind::kNotSet;
    kind = found;
  }
  return kind;
}

bool Types::check(const Step& step, Error* error) const {
  if (step.type == Instruction::kMove) return check_stand_in(step.to, step.from, error);
  return step.type != Instruction::kKernelCall || check_kernel_call(step, error);
}

bool Types::check_kernel_call(const Step& step, Error* error) const {
  const Signature& signature = *step.op->signature;
  const Value& first = at(step.arguments.front());
  for (size_t i = 0; signature.arguments[i] != 0; ++i) {
    const Value& value = at(step.arguments[i]);
    const char letter = signature.arguments[i];
    const bool none = std::isupper(letter) != 0 && value.kind == Kind::kNone;
    if (!none && !accepts(static_cast<char>(std::tolower(letter)), value, first))
      return error->fail("argument %zu of %s is value %d, which it cannot take", i, signature.name,
                         step.arguments[i]);
  }
  Error why;
  return step.result() == '\0' || check_result(step, &why) ||
         error->fail("%s: %s", signature.name, why.message);
}

bool Types::accepts(char letter, const Value& value, const Value& first) const {
  switch (letter) {
    case 't':
      return value.kind == Kind::kTensor;
    case 'w':
      return value.kind == Kind::kTensor && !value.read_only;
    case 'l':
      return value.kind == Kind::kTensorList;
    case 'm':
      return value.kind == Kind::kTensorList && lists_writable(value);
    case 'q':
      return value.kind == Kind::kOptionalTensorList;
    case 's':
      return value.kind == Kind::kString;
    case 'j':
      return value.kind == Kind::kIntList && lists_integers(value);
    case 'e':
      return value.kind == Kind::kDoubleList;
    case 'c':
      return value.kind == Kind::kBoolList;
    default:
      return accepts_number(letter, value, first);
  }
}

bool Types::accepts_number(char letter, const Value& value, const Value& first) const {
  switch (letter) {
    case 'i':
      return value.is_only(Kind::kInt);
    case 'd':
      return value.is_only(Kind::kDouble);
    case 'b':
      return value.is_only(Kind::kBool);
    case 'n':
      return value.is_number();
    case 'z':  // -1 too: the smallest integer divided by it overflows
      return value.is_only(Kind::kDouble) ||
             (value.is_only(Kind::kInt) && !value.written && value.integer != 0 && value.integer != -1);
    case 'x':
      return value.is_only(Kind::kInt) && !value.written && value.integer >= 0 && value.integer < first.dims;
    default:
      return false;
  }
}

bool Types::check_result(const Step& step, Error* error) const {
  const int32_t target = step.arguments.back();
  const Value& value = at(target);
  switch (step.result()) {
    case 'o':  // the runtime only logs it
      return value.kind == Kind::kTensor || value.kind == Kind::kTensorList ||
             error->fail("its result is no tensor");
    case 'a':
      return check_stand_in(target, step.arguments.front(), error);
    case 'v':
      return (value.kind == Kind::kTensor && !value.is_input) ||
             error->fail("its result is no tensor to view");
    default:
      return (value.is_number() && !value.is_input) || error->fail("its result is no number");
  }
}

bool Types::check_stand_in(int32_t target, int32_t source, Error* error) const {
  if (target == source) return true;
  const Value &to = at(target), &from = at(source);
  if (to.kind != from.kind || to.scalar_type != from.scalar_type || to.dims != from.dims || to.is_input)
    return error->fail("value %d cannot come to stand for value %d", target, source);
  return true;
}

bool Types::lists_writable(const Value& list) const {
  for (const int32_t item : list.items) {
    if (at(item).read_only) return false;
  }
  return true;
}

bool Types::lists_integers(const Value& list) const {
  for (const int32_t item : list.items) {
    if (!at(item).is_only(Kind::kInt)) return false;
  }
  return true;
}

}  // namespace

bool check_types(const std::vector<Chain>& chains, std::vector<Value>* values, Error* error) {
  Types types(values);
  if (!types.follow(chains, error)) return false;
  for (const Chain& chain : chains) {
    for (size_t i = 0; i < chain.size(); ++i) {
      Error why;
      if (!types.check(chain[i], &why)) return error->fail("instruction %zu: %s", i, why.message);
    }
  }
  return true;
}

}  // namespace edge::program
