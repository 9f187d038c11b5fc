#include "program.h"

#include <executorch/extension/tensor/tensor.h>
#include <executorch/runtime/platform/platform.h>

#include <fstream>

// The wheel ships the symbols of the thread pool but not its header.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace edge_runner {
namespace {

using executorch::extension::from_blob;
using executorch::extension::Module;
using executorch::runtime::Error;
using executorch::runtime::Program;

// ExecuTorch reports causes only to its log, so the runner keeps the log and quotes it.
std::vector<std::string>& log_lines() {
  static std::vector<std::string> lines;
  return lines;
}

void keep_log(et_timestamp_t, et_pal_log_level_t level, const char*, const char*, size_t, const char* message,
              size_t length) {
  if (level == kError || level == kFatal) log_lines().emplace_back(message, length);
}

// The first complaint since the log was cleared; later ones only say who passed it on. Without the
// condition that ExecuTorch puts in front, and without bytes that are not text.
std::string first_complaint() {
  if (log_lines().empty()) return "no reason given";
  std::string line = log_lines().front();
  const size_t lowbit = line.find("lowbit::");
  if (lowbit != std::string::npos) line.erase(0, lowbit);
  for (char& c : line) {
    if (c < ' ' || c > '~') c = '?';
  }
  return line;
}

// The names behind "Missing operator: [3] lowbit::linear.out".
std::string missing_operators() {
  const std::string prefix = "Missing operator: ";
  std::string names;
  for (const std::string& line : log_lines()) {
    if (line.rfind(prefix, 0) != 0) continue;
    names += (names.empty() ? "" : ", ") + line.substr(line.find(' ', prefix.size()) + 1);
  }
  return names;
}

}  // namespace

bool set_threads(int threads) {
  auto* pool = executorch::extension::threadpool::get_threadpool();
  return pool != nullptr && pool->_unsafe_reset_threadpool(static_cast<uint32_t>(threads));
}

bool LanguageProgram::load(const std::string& path, std::string* error) {
  executorch::runtime::register_pal(executorch::runtime::PalImpl::create(keep_log, __FILE__));
  path_ = path;
  if (!std::ifstream(path, std::ios::binary).good()) {
    *error = "cannot read the program '" + path + "'";
    return false;
  }
  module_ = std::make_unique<Module>(path, Module::LoadMode::Mmap);
  if (module_->load(Program::Verification::InternalConsistency) != Error::Ok) {
    *error =
        "'" + path + "' is not a usable ExecuTorch program, perhaps truncated (" + first_complaint() + ")";
    return false;
  }
  return load_methods(error);
}

bool LanguageProgram::load_methods(std::string* error) {
  const Error status = module_->load_method("forward");
  if (status == Error::OperatorMissing) {
    *error = "the program needs operators that are not loaded: " + missing_operators() +
             "; lowbit:: ones are in liblowbit_ops.so (keep it where it was installed, relative to the "
             "runner), others need the library that registers them";
    return false;
  }
  if (status != Error::Ok) {
    *error = "cannot load method forward of '" + path_ + "' (" + first_complaint() + ")";
    return false;
  }
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

std::vector<int64_t> LanguageProgram::constant(const char* method) {
  const auto names = module_->method_names();
  if (!names.ok() || names->count(method) == 0) return {};
  const auto values = module_->execute(method);
  std::vector<int64_t> integers;
  if (!values.ok()) return integers;
  for (const auto& value : *values) {
    if (value.isInt()) integers.push_back(value.toInt());
    if (value.isBool()) integers.push_back(value.toBool() ? 1 : 0);
  }
  return integers;
}

const float* LanguageProgram::forward(const int64_t* tokens, int64_t count, int64_t position,
                                      std::string* error) {
  using Sizes = std::vector<executorch::aten::SizesType>;
  std::vector<int64_t> ids(tokens, tokens + count);
  const Sizes shape = {1, static_cast<executorch::aten::SizesType>(count)};
  const auto token_tensor = from_blob(ids.data(), shape, executorch::aten::ScalarType::Long);
  const auto position_tensor = from_blob(&position, {1}, executorch::aten::ScalarType::Long);
  log_lines().clear();
  const auto outputs = module_->forward({*token_tensor, *position_tensor});
  if (!outputs.ok()) {
    *error = "the program failed at position " + std::to_string(position) + " (" + first_complaint() + ")";
    return nullptr;
  }
  if (outputs->empty() || !outputs->at(0).isTensor()) {
    *error = "the program's forward does not return logits";
    return nullptr;
  }
  const auto logits = outputs->at(0).toTensor();
  if (logits.scalar_type() != executorch::aten::ScalarType::Float || logits.dim() < 1 || logits.numel() < 1) {
    *error = "the program's logits are not float32";
    return nullptr;
  }
  vocab_size_ = logits.size(logits.dim() - 1);
  return logits.const_data_ptr<float>() + logits.numel() - vocab_size_;
}

}  // namespace edge_runner
