#include "core/unpacked_ternary.h"

#include <map>
#include <mutex>
#include <tuple>
#include <unordered_map>

#include "core/file_pages.h"
#include "core/table_memory.h"

namespace edge {
namespace {

// The largest MobileLLM looks up about 220 tables per token, so a table that has not been used for this many
// look-ups belongs to a model that is no longer running.
constexpr uint64_t kIdleLookups = 20000;

using Codes = std::shared_ptr<const uint8_t>;
using Content = std::tuple<uint64_t, int64_t, int64_t>;  // digest, n_padded, k

// A table of a program that was examined.
struct Examined {
  Content content;
  uint8_t first_line[kLineBytes];
  Codes codes;
  uint64_t last_used;
};

struct Programs {
  std::mutex mutex;
  std::unordered_map<const uint8_t*, Examined> by_address;  // of the codes in the program
  std::multimap<Content, std::weak_ptr<const uint8_t>> by_content;
  uint64_t lookups = 0;
};

// Never destroyed: worker threads may outlive main.
Programs& programs() {
  static Programs* const instance = new Programs;
  return *instance;
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

// 2-bit codes of the whole table, or null with a sentence.
Codes unpack_table(const PackedView& table, Error* error) {
  if (codes_digest(table.codes, table.codes_bytes()) != table.digest) {
    error->fail("packed table has codes that do not match its digest; it was altered");
    return nullptr;
  }
  const PackedView view = two_bit_view(table, nullptr);
  const TableMemory codes = allocate_table(view.codes_bytes(), error);
  if (codes == nullptr) return nullptr;
  for (int64_t block = 0; block < view.blocks(); ++block) {
    unpack_block(table.block(block), table.k, codes.get() + block * view.block_bytes(), view.block_bytes());
  }
  return codes;
}

Content content_of(const PackedView& table) {
  return {table.digest, table.n_padded, table.k};
}

bool is_examined(const Examined& known, const PackedView& table) {
  return known.content == content_of(table) && std::memcmp(known.first_line, table.codes, kLineBytes) == 0;
}

// Drops tables that are no longer used, and the entries of codes that nobody holds.
void drop_idle(Programs& all) {
  for (auto it = all.by_address.begin(); it != all.by_address.end();) {
    it = all.lookups - it->second.last_used > kIdleLookups ? all.by_address.erase(it) : std::next(it);
  }
  for (auto it = all.by_content.begin(); it != all.by_content.end();) {
    it = it->second.expired() ? all.by_content.erase(it) : std::next(it);
  }
}

// Returns the codes that programs hold already if they are the same, else `codes`, now known by content.
Codes share(Programs& all, const PackedView& table, Codes codes) {
  const auto bytes = static_cast<size_t>(two_bit_view(table, nullptr).codes_bytes());
  const auto [first, last] = all.by_content.equal_range(content_of(table));
  for (auto it = first; it != last; ++it) {
    Codes held = it->second.lock();
    if (held != nullptr && std::memcmp(held.get(), codes.get(), bytes) == 0) return held;
  }
  all.by_content.emplace(content_of(table), codes);
  return codes;
}

// Unpacks a table and remembers it by its address; null with a sentence if it cannot be run.
Examined* examine(Programs& all, const PackedView& table, Error* error) {
  all.by_address.erase(table.codes);
  drop_idle(all);
  Codes codes = unpack_table(table, error);
  if (codes == nullptr) return nullptr;
  Examined examined{content_of(table), {}, share(all, table, std::move(codes)), all.lookups};
  std::memcpy(examined.first_line, table.codes, kLineBytes);
  // The first line stays, because every look-up reads it.
  release_file_pages(table.codes + kLineBytes, table.codes_bytes() - kLineBytes);
  return &all.by_address.emplace(table.codes, std::move(examined)).first->second;
}

}  // namespace

bool runnable_of_program(const PackedView& table, const Kernel& kernel, RunnableTable* runnable,
                         Error* error) {
  runnable->view = table;
  if (!table.is_base3() || kernel.runs_base3) return true;
  Programs& all = programs();
  const std::lock_guard<std::mutex> lock(all.mutex);
  const auto found = all.by_address.find(table.codes);
  const bool known = found != all.by_address.end() && is_examined(found->second, table);
  Examined* const examined = known ? &found->second : examine(all, table, error);
  if (examined == nullptr) return false;
  examined->last_used = ++all.lookups;
  runnable->view = two_bit_view(table, examined->codes.get());
  runnable->owner = examined->codes;
  return true;
}

bool runnable_copy(const PackedView& table, const Kernel& kernel, RunnableTable* runnable, Error* error) {
  runnable->view = table;
  if (!table.is_base3() || kernel.runs_base3) return true;
  const Codes codes = unpack_table(table, error);
  if (codes == nullptr) return false;
  runnable->view = two_bit_view(table, codes.get());
  runnable->owner = codes;
  return true;
}

void programs_changed() {
  Programs& all = programs();
  const std::lock_guard<std::mutex> lock(all.mutex);
  all.by_address.clear();
}

}  // namespace edge
