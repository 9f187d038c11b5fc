#include "runner/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace edge_runner {

using executorch::runtime::HierarchicalAllocator;
using executorch::runtime::MethodMeta;
using executorch::runtime::Span;

PlannedMemory::~PlannedMemory() {
  for (const auto& buffer : buffers_) {
    if (buffer.size() > 0) munmap(buffer.data(), buffer.size());
  }
}

bool PlannedMemory::allocate(const MethodMeta& meta) {
  for (size_t i = 0; i < meta.num_memory_planned_buffers(); ++i) {
    const auto planned = meta.memory_planned_buffer_size(i);
    if (!planned.ok() || *planned < 0) return false;
    const size_t size = static_cast<size_t>(*planned);
    void* pages = nullptr;
    if (size > 0) {
      const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
      pages = mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, -1, 0);
      if (pages == MAP_FAILED) return false;
    }
    buffers_.emplace_back(static_cast<uint8_t*>(pages), size);
    bytes_ += size;
  }
  allocator_ = std::make_unique<HierarchicalAllocator>(Span<Span<uint8_t>>(buffers_.data(), buffers_.size()));
  return true;
}

void* TableMemory::allocate(size_t size, size_t alignment) {
  constexpr size_t kBlock = 16 << 10;
  if (!isPowerOf2(alignment) || size > SIZE_MAX / 4 || alignment > SIZE_MAX / 4) return nullptr;
  const size_t needed = size + alignment;
  if (needed > static_cast<size_t>(end_ - free_)) {
    const size_t block = std::max(needed, kBlock);
    uint8_t* bytes = new (std::nothrow) uint8_t[block];
    if (bytes == nullptr) return nullptr;
    blocks_.emplace_back(bytes);
    free_ = bytes;
    end_ = bytes + block;
  }
  uint8_t* start = alignPointer(free_, alignment);
  free_ = start + size;
  return start;
}

void* ScratchMemory::allocate(size_t size, size_t alignment) {
  constexpr size_t kLine = 64;  // a cache line: suits vectors and avoids false sharing
  if (!isPowerOf2(alignment) || size > SIZE_MAX / 4) return nullptr;
  alignment = alignment < kLine ? kLine : alignment;
  const size_t needed = size + alignment;
  if (blocks_.empty() || needed > blocks_.back().size - used_) {
    uint8_t* bytes = new (std::nothrow) uint8_t[needed];
    if (bytes == nullptr) return nullptr;
    blocks_.push_back({std::unique_ptr<uint8_t[]>(bytes), needed});
    used_ = 0;
  }
  uint8_t* start = alignPointer(blocks_.back().bytes.get() + used_, alignment);
  used_ = static_cast<size_t>(start - blocks_.back().bytes.get()) + size;
  return start;
}

void ScratchMemory::reset() {
  used_ = 0;
  if (blocks_.size() < 2) return;
  size_t total = 0;
  for (const Block& block : blocks_) total += block.size;
  blocks_.clear();
  uint8_t* bytes = new (std::nothrow) uint8_t[total];
  if (bytes != nullptr) blocks_.push_back({std::unique_ptr<uint8_t[]>(bytes), total});
}

}  // namespace edge_runner
