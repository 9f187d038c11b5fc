// The memory a method runs in. ExecuTorch's Module clears all planned memory up front and allocates
// scratch anew for every operator; here, planned pages appear when they are first written, and
// scratch is kept.
#pragma once

#include <executorch/runtime/core/hierarchical_allocator.h>
#include <executorch/runtime/core/memory_allocator.h>
#include <executorch/runtime/executor/method_meta.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace edge_runner {

// The planned buffers: activations, and the KV cache, which starts as zeros. Planned for the longest
// prompt and context; a page that no token reached takes no memory.
class PlannedMemory {
 public:
  PlannedMemory() = default;
  ~PlannedMemory();
  PlannedMemory(const PlannedMemory&) = delete;
  PlannedMemory& operator=(const PlannedMemory&) = delete;

  // False when the address space has no room.
  bool allocate(const executorch::runtime::MethodMeta& meta);

  executorch::runtime::HierarchicalAllocator* allocator() { return allocator_.get(); }
  size_t bytes() const { return bytes_; }  // planned, not resident

 private:
  std::vector<executorch::runtime::Span<uint8_t>> buffers_;
  std::unique_ptr<executorch::runtime::HierarchicalAllocator> allocator_;
  size_t bytes_ = 0;
};

// Scratch of one operator at a time: ExecuTorch resets it after each. Grows to the largest need.
class ScratchMemory final : public executorch::runtime::MemoryAllocator {
 public:
  ScratchMemory() : MemoryAllocator(0, nullptr) {}

  void* allocate(size_t size, size_t alignment = kDefaultAlignment) override;
  void reset() override;

 private:
  struct Block {
    std::unique_ptr<uint8_t[]> bytes;
    size_t size;
  };

  std::vector<Block> blocks_;  // several only until the next reset
  size_t used_ = 0;            // of the last block
};

}  // namespace edge_runner
