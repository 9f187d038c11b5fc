// A loaded language model: forward(tokens int64 [1,T], input_pos int64 [1]) -> logits of the last
// token, float32 [1,V] or [1,T,V]. It holds the KV cache of one sequence and is used by one thread at a time.
#pragma once

#include <executorch/extension/data_loader/buffer_data_loader.h>
#include <executorch/runtime/executor/program.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runner/loaded_method.h"
#include "runner/mapped_file.h"

namespace edge_runner {

class LanguageProgram {
 public:
  // Maps the file and prepares the method. `tracer` may be null and must outlive the program. Returns false
  // with a sentence if the file is missing, truncated or no program, or if an op or a kernel is missing.
  // Checks the file's structure, not its manifest (edge.runtime does that).
  bool load(const std::string& path, executorch::runtime::EventTracer* tracer, std::string* error);

  // Both run tokens from `position` on and return the logits of the last one, `vocab_size` floats that stay
  // valid until the next call, or null with a sentence. Prefill takes one or more tokens and runs at most
  // kPrefillTokens at a time, which bounds the memory of activations.
  const float* prefill(const int64_t* tokens, int64_t count, int64_t position, std::string* error);
  const float* decode(int64_t token, int64_t position, std::string* error);

  // Sets the bits of an elastic program's layers, 2 to 8, for all that is run from now on: one number for all
  // layers, or one each. Lets go of the slices of earlier widths. Returns false with a sentence if the
  // program is not elastic, holds no such width, or is running in another thread.
  bool set_widths(const std::vector<int64_t>& bits, std::string* error);
  // The bits of each layer; empty if the program is not elastic.
  std::vector<int64_t> widths() const;

  int64_t vocab_size() const { return vocab_size_; }
  int64_t max_seq_len() const { return max_seq_len_; }
  const std::vector<int64_t>& eos_ids() const { return eos_ids_; }
  const std::string& path() const { return path_; }
  const std::string& kernel() const { return kernel_; }  // what lowbit::linear uses on this CPU
  size_t file_bytes() const { return file_.size(); }
  size_t planned_bytes() const { return forward_->planned_bytes(); }  // KV cache and activations

  static constexpr int64_t kPrefillTokens = 128;

 private:
  bool load_program(std::string* error);
  bool check_file(std::string* error) const;
  bool load_forward(executorch::runtime::EventTracer* tracer, std::string* error);
  bool read_constants(std::string* error);
  bool check_output(std::string* error);
  bool find_widths(std::string* error);
  std::vector<int64_t> constant(const char* method);
  const float* forward(const int64_t* tokens, int64_t count, int64_t position, std::string* error);

  std::string path_, kernel_;
  MappedFile file_;  // must outlive program_, which points into it
  std::unique_ptr<executorch::extension::BufferDataLoader> loader_;
  std::unique_ptr<executorch::runtime::Program> program_;
  std::unique_ptr<LoadedMethod> forward_;
  int64_t vocab_size_ = 0;
  int64_t max_seq_len_ = 0;
  bool dynamic_shape_ = false;
  std::vector<int64_t> eos_ids_;
  uint8_t* widths_ = nullptr;  // in the program's memory, one byte a layer; null if it is not elastic
  int64_t layers_ = 0;
  std::atomic<bool> running_{false};
};

}  // namespace edge_runner
