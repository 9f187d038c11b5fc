#include "runner/program.h"

#include <executorch/runtime/platform/runtime.h>

#include <algorithm>
#include <utility>

#include "executorch/c_api.h"
#include "runner/runtime_log.h"

namespace edge_runner {

using executorch::aten::DimOrderType;
using executorch::aten::ScalarType;
using executorch::aten::SizesType;
using executorch::aten::StridesType;
using executorch::aten::Tensor;
using executorch::aten::TensorImpl;
using executorch::extension::BufferDataLoader;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::EventTracer;
using executorch::runtime::Program;

namespace {

constexpr int64_t kParentBits = 8;  // of an elastic program: its widest slice

// Marks a program as running, so that another thread does not change its width in the middle.
class Running {
 public:
  explicit Running(std::atomic<bool>* flag) : flag_(flag) { *flag_ = true; }
  ~Running() { *flag_ = false; }

 private:
  std::atomic<bool>* flag_;
};

}  // namespace

bool LanguageProgram::load(const std::string& path, EventTracer* tracer, std::string* error) {
  keep_runtime_log();
  clear_runtime_log();
  executorch::runtime::runtime_init();
  path_ = path;
  // Select the kernel now, so that a bad EDGE_FORCE_KERNEL is refused before any work.
  char reason[256] = "";
  const char* kernel = edge_selected_kernel(reason, sizeof(reason));
  if (kernel == nullptr) {
    *error = reason;
    return false;
  }
  kernel_ = kernel;
  return load_program(error) && load_forward(tracer, error) && read_constants(error) && check_output(error) &&
         find_widths(error);
}

bool LanguageProgram::load_program(std::string* error) {
  if (!file_.open(path_)) {
    *error = "cannot read the program '" + path_ + "'";
    return false;
  }
  if (file_.size() == 0) {
    *error = "'" + path_ + "' is not a usable ExecuTorch program (empty, or not a file)";
    return false;
  }
  if (!check_file(error)) return false;
  loader_ = std::make_unique<BufferDataLoader>(file_.data(), file_.size());
  auto program = Program::load(loader_.get(), Program::Verification::InternalConsistency);
  if (!program.ok()) {
    *error =
        "'" + path_ + "' is not a usable ExecuTorch program, perhaps truncated (" + first_complaint() + ")";
    return false;
  }
  program_ = std::make_unique<Program>(std::move(*program));
  return true;
}

// Both this check and the runtime's own read the program's tables, not its weights, in about a millisecond.
// Unused pages of planned buffers take no memory, so these may be larger than the machine's.
bool LanguageProgram::check_file(std::string* error) const {
  char reason[1024] = "";
  const int status = edge_check_program(file_.data(), file_.size(), INT64_MAX, reason, sizeof(reason));
  if (status == EDGE_PROGRAM_LACKS_OPERATORS) {
    *error = std::string("the program needs operators that are not loaded: ") + reason +
             "; lowbit:: ones are in liblowbit_ops.so (keep it where it was installed, relative to the "
             "runner), others need the library that registers them";
  } else if (status != EDGE_PROGRAM_USABLE) {
    *error = "'" + path_ + "' is not a usable ExecuTorch program (" + reason + ")";
  }
  return status == EDGE_PROGRAM_USABLE;
}

bool LanguageProgram::load_forward(EventTracer* tracer, std::string* error) {
  Error status = Error::Ok;
  forward_ = LoadedMethod::load(*program_, "forward", tracer, &status);
  if (status == Error::NotSupported) {
    *error = "the program plans no memory for its outputs; export it with export.to_pte";
  } else if (status != Error::Ok) {
    *error = "cannot load method forward of '" + path_ + "' (" + first_complaint() + ")";
  }
  return status == Error::Ok;
}

bool LanguageProgram::read_constants(std::string* error) {
  const std::vector<int64_t> max_seq_len = constant("get_max_seq_len");
  if (max_seq_len.size() != 1 || max_seq_len[0] < 1) {
    *error = "the program has no usable get_max_seq_len; export it with export.to_pte";
    return false;
  }
  max_seq_len_ = max_seq_len[0];
  eos_ids_ = constant("get_eos_ids");
  const std::vector<int64_t> dynamic = constant("enable_dynamic_shape");
  dynamic_shape_ = !dynamic.empty() && dynamic[0] != 0;
  return true;
}

bool LanguageProgram::check_output(std::string* error) {
  const auto meta = forward_->method().method_meta();
  const auto inputs = meta.num_inputs();
  const auto logits = meta.output_tensor_meta(0);
  if (inputs != 2 || !logits.ok() || logits->scalar_type() != ScalarType::Float || logits->sizes().empty() ||
      logits->sizes()[logits->sizes().size() - 1] < 1) {
    *error = "the program's forward does not take tokens and a position and return float32 logits";
    return false;
  }
  vocab_size_ = logits->sizes()[logits->sizes().size() - 1];
  return true;
}

bool LanguageProgram::find_widths(std::string* error) {
  auto& method = forward_->method();
  if (method.method_meta().num_attributes() == 0) return true;
  const auto widths = method.get_attribute("widths");
  if (!widths.ok() || widths->scalar_type() != ScalarType::Byte || widths->numel() < 1) {
    *error = "the program's widths are not one byte for each layer; export it again";
    return false;
  }
  widths_ = widths->mutable_data_ptr<uint8_t>();
  layers_ = widths->numel();
  return true;
}

bool LanguageProgram::set_widths(const std::vector<int64_t>& bits, std::string* error) {
  const auto held = [](int64_t width) { return width >= 2 && width <= kParentBits; };
  const auto count = static_cast<int64_t>(bits.size());
  if (widths_ == nullptr) {
    *error = "the program is not elastic, so its width is fixed: export it with --bits elastic";
  } else if (count != 1 && count != layers_) {
    *error = "the program has " + std::to_string(layers_) + " layers, and " + std::to_string(count) +
             " widths were given; give one, or one for each layer";
  } else if (!std::all_of(bits.begin(), bits.end(), held)) {
    *error = "an elastic program holds 2 to 8 bits, not " +
             std::to_string(*std::find_if_not(bits.begin(), bits.end(), held));
  } else if (running_) {
    *error = "the width cannot change while the program runs; change it between tokens";
  } else {
    for (int64_t layer = 0; layer < layers_; ++layer) {
      widths_[layer] = static_cast<uint8_t>(bits[static_cast<size_t>(count == 1 ? 0 : layer)]);
    }
    edge_forget_slices();
    return true;
  }
  return false;
}

std::vector<int64_t> LanguageProgram::widths() const {
  std::vector<int64_t> bits;
  for (int64_t layer = 0; layer < layers_; ++layer) {
    bits.push_back(widths_[layer] == 0 ? kParentBits : widths_[layer]);
  }
  return bits;
}

std::vector<int64_t> LanguageProgram::constant(const char* name) {
  std::vector<int64_t> integers;
  Error status = Error::Ok;
  const auto loaded = LoadedMethod::load(*program_, name, nullptr, &status);
  if (loaded == nullptr || loaded->method().execute() != Error::Ok) return integers;
  for (size_t i = 0; i < loaded->method().outputs_size(); ++i) {
    const EValue& value = loaded->method().get_output(i);
    if (value.isInt()) integers.push_back(value.toInt());
    if (value.isBool()) integers.push_back(value.toBool() ? 1 : 0);
  }
  return integers;
}

const float* LanguageProgram::prefill(const int64_t* tokens, int64_t count, int64_t position,
                                      std::string* error) {
  const int64_t piece = dynamic_shape_ ? kPrefillTokens : 1;
  const Running running(&running_);
  const float* logits = nullptr;
  for (int64_t done = 0; done < count; done += piece) {
    logits = forward(tokens + done, std::min(piece, count - done), position + done, error);
    if (logits == nullptr) return nullptr;
  }
  return logits;
}

const float* LanguageProgram::decode(int64_t token, int64_t position, std::string* error) {
  const Running running(&running_);
  return forward(&token, 1, position, error);
}

const float* LanguageProgram::forward(const int64_t* tokens, int64_t count, int64_t position,
                                      std::string* error) {
  if (count < 1 || position < 0 || position > max_seq_len_ - count) {
    *error = std::to_string(count) + " tokens from position " + std::to_string(position) +
             " on do not fit the program's " + std::to_string(max_seq_len_);
    return nullptr;
  }
  auto& method = forward_->method();
  SizesType sizes[] = {1, static_cast<SizesType>(count)};
  DimOrderType order[] = {0, 1};
  StridesType strides[] = {sizes[1], 1};
  TensorImpl token_tensor(ScalarType::Long, 2, sizes, const_cast<int64_t*>(tokens), order, strides);
  TensorImpl position_tensor(ScalarType::Long, 1, sizes, &position, order, strides + 1);
  clear_runtime_log();
  Error status = method.set_input(EValue(Tensor(&token_tensor)), 0);
  if (status == Error::Ok) status = method.set_input(EValue(Tensor(&position_tensor)), 1);
  if (status == Error::Ok) status = method.execute();
  if (status != Error::Ok) {
    *error = "the program failed at position " + std::to_string(position) + " (" + first_complaint() + ")";
    return nullptr;
  }
  const auto logits = method.get_output(0).toTensor();
  if (logits.numel() < vocab_size_ || logits.size(logits.dim() - 1) != vocab_size_) {
    *error = "the program's logits do not have " + std::to_string(vocab_size_) + " entries";
    return nullptr;
  }
  return logits.const_data_ptr<float>() + logits.numel() - vocab_size_;
}

}  // namespace edge_runner
