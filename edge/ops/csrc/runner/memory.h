// The memory of a method. ExecuTorch's Module clears all planned memory at the start and allocates scratch
// for every operator; here planned pages take memory only once they are written, and scratch is reused.
#pragma once

#include <executorch/runtime/core/hierarchical_allocator.h>
#include <executorch/runtime/core/memory_allocator.h>
#include <executorch/runtime/executor/method_meta.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace edge_runner {

// The planned buffers: activations and the KV cache, which starts as zeros. They are planned for the longest
// prompt and context; unused pages take no memory.
class PlannedMemory {
 public:
  PlannedMemory() = default;
  ~PlannedMemory();
  PlannedMemory(const PlannedMemory&) = delete;
  PlannedMemory& operator=(const PlannedMemory&) = delete;

  // Returns false if the address space has no room.
  bool allocate(const executorch::runtime::MethodMeta& meta);

  executorch::runtime::HierarchicalAllocator* allocator() { return allocator_.get(); }
  size_t bytes() const { return bytes_; }  // planned, not resident

 private:
  std::vector<executorch::runtime::Span<uint8_t>> buffers_;
  std::unique_ptr<executorch::runtime::HierarchicalAllocator> allocator_;
  size_t bytes_ = 0;
};

// Memory of the runtime's own tables, many and small, which live as long as the method.
class TableMemory final : public executorch::runtime::MemoryAllocator {
 public:
  TableMemory() : MemoryAllocator(0, nullptr) {}

  void* allocate(size_t size, size_t alignment = kDefaultAlignment) override;

 private:
  std::vector<std::unique_ptr<uint8_t[]>> blocks_;
  uint8_t* free_ = nullptr;  // of the last block, up to end_
  uint8_t* end_ = nullptr;
};

// Scratch of one operator at a time, which ExecuTorch resets after each. Grows to the largest need.
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

  std::vector<Block> blocks_;  // more than one only until the next reset
  size_t used_ = 0;            // of the last block
};

}  // namespace edge_runner
