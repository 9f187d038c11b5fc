#include "core/unpacked_ternary.h"

#include <sys/mman.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <tuple>

#include "core/file_pages.h"

namespace edge {
namespace {

// The largest MobileLLM looks up about 220 tables per token, so unpacked codes that have not been used for
// this many look-ups belong to a model that is no longer running.
constexpr uint64_t kIdleLookups = 20000;

struct Entry {
  std::shared_ptr<uint8_t> codes;
  int64_t bytes;
  uint64_t last_used;
};
using Key = std::tuple<uint64_t, int64_t, int64_t>;  // digest, n_padded, k

struct Cache {
  std::mutex mutex;
  std::map<Key, Entry> entries;
  uint64_t lookups = 0;
  int64_t bytes = 0;
};

Cache& cache() {
  static Cache* const instance = new Cache;  // never destroyed: worker threads may outlive main
  return *instance;
}

void free_idle(Cache& unpacked) {
  for (auto it = unpacked.entries.begin(); it != unpacked.entries.end();) {
    if (unpacked.lookups - it->second.last_used > kIdleLookups) {
      unpacked.bytes -= it->second.bytes;
      it = unpacked.entries.erase(it);
    } else {
      ++it;
    }
  }
}

// Lane by lane: a byte's five trits are five columns 4 apart, a 2-bit line's byte holds four of those.
void unpack_block(const uint8_t* base3, int64_t k, uint8_t* out, int64_t out_bytes) {
  std::memset(out, 0, static_cast<size_t>(out_bytes));
  for (int64_t line = 0; line * 20 < k; ++line) {
    uint8_t rest[kLineBytes];
    std::memcpy(rest, base3 + line * kLineBytes, sizeof(rest));
    for (int64_t position = 0; position < 5; ++position) {
      const int64_t quad = line * 5 + position;
      if (quad * 4 >= k) break;  // padding of base 3, for which the 2-bit form may have no room
      uint8_t* lanes = out + quad / 4 * kLineBytes;
      const int shift = static_cast<int>(quad % 4) * 2;
      for (int64_t lane = 0; lane < kLineBytes; ++lane) {
        const uint32_t triple = 3u * rest[lane];
        lanes[lane] = static_cast<uint8_t>(lanes[lane] | (triple >> 8) << shift);
        rest[lane] = static_cast<uint8_t>(triple);
      }
    }
  }
}

PackedView two_bit_view(const PackedView& table, const uint8_t* codes) {
  PackedView view = table;
  view.form.encoding = &traits_of(Encoding::kBits2);
  view.k_padded = padded_columns(table.k, *view.form.encoding);
  view.codes = codes;
  return view;
}

// Allocates large tables on pages of 2 MiB where Linux offers them: every token reads all codes, and larger
// pages need fewer address translations.
uint8_t* allocate_codes(size_t bytes) {
  constexpr size_t kLargePage = size_t{2} << 20;
  const bool large = bytes >= kLargePage;
  const size_t alignment = large ? kLargePage : static_cast<size_t>(kLineBytes);
  void* codes = nullptr;
  if (posix_memalign(&codes, alignment, bytes) != 0) return nullptr;
#if defined(MADV_HUGEPAGE)
  if (large) madvise(codes, bytes / kLargePage * kLargePage, MADV_HUGEPAGE);
#endif
  return static_cast<uint8_t*>(codes);
}

// 2-bit codes of the whole table, or null with a sentence.
std::shared_ptr<uint8_t> unpack_table(const PackedView& table, Error* error) {
  if (codes_digest(table.codes, table.codes_bytes()) != table.digest) {
    error->fail("packed table has codes that do not match its digest; it was altered");
    return nullptr;
  }
  const PackedView view = two_bit_view(table, nullptr);
  const size_t bytes = static_cast<size_t>(view.codes_bytes());
  std::shared_ptr<uint8_t> codes(allocate_codes(bytes), std::free);
  if (codes == nullptr) {
    error->fail("out of memory for %zu bytes of unpacked ternary weights", bytes);
    return nullptr;
  }
  for (int64_t block = 0; block < view.blocks(); ++block) {
    unpack_block(table.block(block), table.k, codes.get() + block * view.block_bytes(), view.block_bytes());
  }
  return codes;
}

}  // namespace

bool runnable_table(const PackedView& table, const Kernel& kernel, RunnableTable* runnable, Error* error) {
  runnable->view = table;
  if (!table.is_base3() || kernel.runs_base3) return true;
  Cache& unpacked = cache();
  const std::lock_guard<std::mutex> lock(unpacked.mutex);
  const Key key{table.digest, table.n_padded, table.k};
  auto found = unpacked.entries.find(key);
  if (found == unpacked.entries.end()) {
    free_idle(unpacked);
    std::shared_ptr<uint8_t> codes = unpack_table(table, error);
    if (codes == nullptr) return false;
    release_file_pages(table.codes, table.codes_bytes());
    const int64_t bytes = two_bit_view(table, nullptr).codes_bytes();
    unpacked.bytes += bytes;
    found = unpacked.entries.emplace(key, Entry{std::move(codes), bytes, 0}).first;
  }
  found->second.last_used = ++unpacked.lookups;
  runnable->view = two_bit_view(table, found->second.codes.get());
  runnable->owner = found->second.codes;
  return true;
}

int64_t unpacked_ternary_bytes() {
  Cache& unpacked = cache();
  const std::lock_guard<std::mutex> lock(unpacked.mutex);
  return unpacked.bytes;
}

}  // namespace edge
