// A loaded program and what it says about itself.
#pragma once

#include <executorch/extension/module/module.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace edge_runner {

class LanguageProgram {
 public:
  // False and one sentence: no such file, not a program, truncated, or an op is missing.
  bool load(const std::string& path, std::string* error);

  // Logits of the last token, `vocab_size` floats that stay valid until the next call; null and one
  // sentence when the program refuses.
  const float* forward(const int64_t* tokens, int64_t count, int64_t position, std::string* error);

  int64_t vocab_size() const { return vocab_size_; }  // known after the first forward
  int64_t max_seq_len() const { return max_seq_len_; }
  bool dynamic_shape() const { return dynamic_shape_; }
  const std::vector<int64_t>& eos_ids() const { return eos_ids_; }

 private:
  bool load_methods(std::string* error);
  std::vector<int64_t> constant(const char* method);

  std::unique_ptr<executorch::extension::Module> module_;
  std::string path_;
  int64_t vocab_size_ = 0;
  int64_t max_seq_len_ = 0;
  bool dynamic_shape_ = false;
  std::vector<int64_t> eos_ids_;
};

// Sets the size of the pool that every kernel and XNNPACK use.
bool set_threads(int threads);

}  // namespace edge_runner
