// A reader of flatbuffers from files that nobody vouches for. It follows no offset out of the buffer: a bad
// one gives an absent table, an empty list or a zero, and marks the buffer as damaged. So a caller may read
// on, and asks `damaged` before it believes what it read.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace edge::flatbuffer {

// Whether a text can be printed; the runtime's Python would end the process over one that cannot.
inline bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
}

class Table;

class Buffer {
 public:
  Buffer(const uint8_t* data, uint64_t size) : data_(data), size_(size), budget_(kPasses * size) {}

  Table root();
  bool damaged() const { return damaged_; }

 private:
  friend class Table;
  template <class T>
  friend class List;
  friend class Tables;

  template <class T>
  T load(uint64_t at) {
    T value{};
    if (at % sizeof(T) != 0) damaged_ = true;
    if (holds(at, sizeof(T))) std::memcpy(&value, data_ + at, sizeof(T));
    return value;
  }

  bool holds(uint64_t at, uint64_t bytes) {
    if (at > size_ || bytes > size_ - at) damaged_ = true;
    return !damaged_;
  }

  // Follows the offset that is stored at `at`. Zero, which would lead back to itself, is none.
  uint64_t follow(uint64_t at) {
    const uint64_t offset = load<uint32_t>(at);
    if (offset == 0) damaged_ = true;
    return damaged_ ? 0 : at + offset;
  }

  // Counts what was visited. A writer stores every table once, so a reader that makes a few passes visits a
  // few times the buffer's bytes. Where tables are shared, a small file could make any reader work for years.
  bool spend(uint64_t bytes) {
    if (bytes > budget_) damaged_ = true;
    if (!damaged_) budget_ -= bytes;
    return !damaged_;
  }

  static constexpr uint64_t kPasses = 8;

  const uint8_t* data_;
  uint64_t size_;
  uint64_t budget_;
  bool damaged_ = false;
};

// A list of scalars; its elements lie in the buffer.
template <class T>
class List {
 public:
  bool present() const { return buffer_ != nullptr; }
  uint32_t size() const { return size_; }
  uint64_t position() const { return at_; }  // of the first element in the buffer
  T operator[](uint32_t i) const { return buffer_->load<T>(at_ + i * sizeof(T)); }

 private:
  friend class Table;
  friend class Tables;

  List() = default;
  List(Buffer* buffer, uint64_t vector) {
    const uint32_t size = buffer->load<uint32_t>(vector);
    if (!buffer->holds(vector + 4, uint64_t{size} * sizeof(T)) || !buffer->spend(uint64_t{size} * sizeof(T)))
      return;
    buffer_ = buffer;
    at_ = vector + 4;
    size_ = size;
  }

  Buffer* buffer_ = nullptr;
  uint64_t at_ = 0;
  uint32_t size_ = 0;
};

class Tables;

// A table, or none where the field that leads to it is absent. Fields are counted from 0; a union takes two,
// its type and its table.
class Table {
 public:
  Table() = default;

  bool present() const { return buffer_ != nullptr; }

  template <class T>
  T scalar(int field, T fallback = T{}) const {
    const uint64_t at = find(field, sizeof(T));
    return at == 0 ? fallback : buffer_->load<T>(at);
  }

  Table table(int field) const {
    const uint64_t at = find(field, 4);
    return at == 0 ? Table() : Table(buffer_, buffer_->follow(at));
  }

  template <class T>
  List<T> list(int field) const {
    const uint64_t at = find(field, 4);
    return at == 0 ? List<T>() : List<T>(buffer_, buffer_->follow(at));
  }

  Tables tables(int field) const;

  // A string without its terminator, which is required, as C code reads strings; null where absent.
  std::string_view text(int field) const {
    const List<uint8_t> bytes = list<uint8_t>(field);
    if (!bytes.present()) return {};
    if (bytes[bytes.size()] != 0) buffer_->damaged_ = true;
    return {reinterpret_cast<const char*>(buffer_->data_ + bytes.at_), bytes.size()};
  }

 private:
  friend class Buffer;
  friend class Tables;

  Table(Buffer* buffer, uint64_t at) : at_(at) {
    const int64_t vtable = static_cast<int64_t>(at) - buffer->load<int32_t>(at);
    if (vtable < 0 || vtable % 2 != 0) buffer->damaged_ = true;
    if (buffer->damaged_) return;
    vtable_ = static_cast<uint64_t>(vtable);
    vtable_bytes_ = buffer->load<uint16_t>(vtable_);
    table_bytes_ = buffer->load<uint16_t>(vtable_ + 2);
    if (vtable_bytes_ < 4 || vtable_bytes_ % 2 != 0 || table_bytes_ < 4) buffer->damaged_ = true;
    if (buffer->holds(vtable_, vtable_bytes_) && buffer->holds(at, table_bytes_) &&
        buffer->spend(table_bytes_))
      buffer_ = buffer;
  }

  // Where a field lies; 0 where it is absent.
  uint64_t find(int field, uint64_t bytes) const {
    const uint64_t entry = 4 + 2 * static_cast<uint64_t>(field);
    if (buffer_ == nullptr || entry + 2 > vtable_bytes_) return 0;
    const uint64_t offset = buffer_->load<uint16_t>(vtable_ + entry);
    if (offset == 0) return 0;
    if (offset < 4 || offset + bytes > table_bytes_) buffer_->damaged_ = true;
    return buffer_->damaged_ ? 0 : at_ + offset;
  }

  Buffer* buffer_ = nullptr;
  uint64_t at_ = 0;
  uint64_t vtable_ = 0;
  uint64_t vtable_bytes_ = 0;
  uint64_t table_bytes_ = 0;
};

class Tables {
 public:
  bool present() const { return offsets_.present(); }
  uint32_t size() const { return offsets_.size(); }
  Table operator[](uint32_t i) const {
    return Table(offsets_.buffer_, offsets_.buffer_->follow(offsets_.at_ + 4 * uint64_t{i}));
  }

 private:
  friend class Table;
  explicit Tables(List<uint32_t> offsets) : offsets_(offsets) {}

  List<uint32_t> offsets_;
};

inline Tables Table::tables(int field) const {
  return Tables(list<uint32_t>(field));
}

inline Table Buffer::root() {
  return Table(this, follow(0));
}

}  // namespace edge::flatbuffer
