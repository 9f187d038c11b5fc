#include "executorch/program_data.h"

#include <cinttypes>
#include <cstring>

#include "executorch/program_schema.h"

namespace edge::program {

using flatbuffer::List;
using flatbuffer::Table;
using flatbuffer::Tables;

namespace {

template <class T>
T read_word(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

bool fits(uint64_t at, uint64_t bytes, uint64_t room) {
  return at <= room && bytes <= room - at;
}

constexpr uint64_t kMaxFlatbufferBytes = 0x7fffffff;  // its offsets are signed 32-bit numbers

}  // namespace

bool read_header(const uint8_t* data, size_t size, Header* header, Error* error) {
  if (size < kHeadBytes) return error->fail("it has only %zu bytes", size);
  if (std::memcmp(data + kIdentifierAt, "ET12", 4) != 0)
    return error->fail("its first bytes are not those of a program");
  *header = {size, size, 0};
  if (std::memcmp(data + kMagicAt, "eh00", 4) == 0) {
    const auto header_bytes = read_word<uint32_t>(data + kHeaderBytesAt);
    if (header_bytes < kHeaderBytes) return error->fail("its header is too short");
    header->flatbuffer_bytes = read_word<uint64_t>(data + kProgramSizeAt);
    header->segments_at = read_word<uint64_t>(data + kSegmentBaseAt);
    const uint64_t segment_bytes =
        header_bytes >= kHeaderBytesWithSize ? read_word<uint64_t>(data + kSegmentDataSizeAt) : 0;
    if (header->flatbuffer_bytes > size || !fits(header->segments_at, segment_bytes, size))
      return error->fail("its header asks for more bytes than the %zu of the file, as if truncated", size);
  }
  if (header->flatbuffer_bytes < kIdentifierAt + 4 || header->flatbuffer_bytes > kMaxFlatbufferBytes)
    return error->fail("its tables cannot take %" PRIu64 " bytes", header->flatbuffer_bytes);
  return true;
}

bool Data::read(const Table& program, const Header& header, Error* error) {
  if (!read_segments(program.tables(root::kSegments), header, error)) return false;
  const Table constants = program.table(root::kConstants);
  if (!read_offsets(constants, "constants", &constants_, &constant_offsets_, error)) return false;
  const Tables mutable_data = program.tables(root::kMutableData);
  if (mutable_data.size() > 0 &&
      !read_offsets(mutable_data[0], "initial states", &mutable_data_, &mutable_offsets_, error))
    return false;
  const Tables delegate_data = program.tables(root::kInlineDelegateData);
  for (uint32_t i = 0; i < delegate_data.size(); ++i) {
    const List<uint8_t> bytes = delegate_data[i].list<uint8_t>(inline_data::kBytes);
    if (!bytes.present()) return error->fail("data %u of a delegate is missing", i);
    inline_delegates_.push_back({bytes.position(), bytes.size()});
  }
  return read_inline_constants(program.tables(root::kInlineConstants), error) &&
         read_named_data(program.tables(root::kNamedData), error);
}

bool Data::read_segments(const Tables& segments, const Header& header, Error* error) {
  for (uint32_t i = 0; i < segments.size(); ++i) {
    const auto at = segments[i].scalar<uint64_t>(segment::kOffset);
    const auto bytes = segments[i].scalar<uint64_t>(segment::kSize);
    if (header.segments_at == 0 || !fits(at, bytes, header.file_bytes - header.segments_at))
      return error->fail("segment %u reaches beyond the file, which may be truncated", i);
    segments_.push_back({header.segments_at + at, bytes});
  }
  return true;
}

bool Data::read_offsets(const Table& table, const char* what, Extent* segment, std::vector<uint64_t>* offsets,
                        Error* error) const {
  const List<uint64_t> list = table.list<uint64_t>(subsegments::kOffsets);
  if (list.size() < 2) return true;  // the first entry stands for no data
  const auto index = table.scalar<uint32_t>(subsegments::kSegment);
  if (index >= segments_.size())
    return error->fail("its %s are in segment %u of %zu", what, index, segments_.size());
  *segment = segments_[index];
  for (uint32_t i = 0; i < list.size(); ++i) offsets->push_back(list[i]);
  return true;
}

bool Data::read_inline_constants(const Tables& buffers, Error* error) {
  if (buffers.size() > 0 && !constant_offsets_.empty())
    return error->fail("it has constants in its tables and in a segment");
  for (uint32_t i = 0; i < buffers.size(); ++i) {
    const List<uint8_t> bytes = buffers[i].list<uint8_t>(inline_data::kBytes);
    inline_constants_.push_back({bytes.position(), bytes.size()});
    if (!bytes.present() && i > 0) return error->fail("constant %u is missing", i);
  }
  return true;
}

bool Data::read_named_data(const Tables& entries, Error* error) {
  for (uint32_t i = 0; i < entries.size(); ++i) {
    const std::string_view key = entries[i].text(named_data::kKey);
    const auto index = entries[i].scalar<uint32_t>(named_data::kSegment);
    if (key.empty() || !flatbuffer::is_printable(key) || index >= segments_.size())
      return error->fail("named data %u has no name or no segment", i);
    named_bytes_.emplace(key, segments_[index].bytes);  // the runtime too takes the first of a name
  }
  return true;
}

uint64_t Data::named_bytes(std::string_view name) const {
  const auto found = named_bytes_.find(name);
  return found == named_bytes_.end() ? 0 : found->second;
}

bool Data::has_constant(uint32_t index, uint64_t bytes, uint64_t alignment, Error* error) const {
  Extent found;
  if (!inline_constants_.empty() && index < inline_constants_.size()) {
    found = inline_constants_[index];
  } else if (index < constant_offsets_.size() && constant_offsets_[index] <= constants_.bytes) {
    found = {constants_.at + constant_offsets_[index], constants_.bytes - constant_offsets_[index]};
  } else {
    return error->fail("its data is no constant of the program");
  }
  if (bytes > found.bytes) return error->fail("its data lies beyond its segment");
  if (found.at % alignment != 0) return error->fail("its data is not aligned");
  return true;
}

bool Data::has_initial_state(uint32_t index, uint64_t bytes, Error* error) const {
  if (index >= mutable_offsets_.size() || !fits(mutable_offsets_[index], bytes, mutable_data_.bytes))
    return error->fail("its initial state lies beyond its segment");
  return true;
}

bool Data::find_delegate_data(const Table& reference, Extent* found, Error* error) const {
  const bool in_segment = reference.scalar<int8_t>(data_reference::kLocation) == kInSegment;
  const std::vector<Extent>& places = in_segment ? segments_ : inline_delegates_;
  const auto index = reference.scalar<uint32_t>(data_reference::kIndex);
  if (!reference.present() || index >= places.size()) return error->fail("its data is missing");
  *found = places[index];
  return true;
}

}  // namespace edge::program
