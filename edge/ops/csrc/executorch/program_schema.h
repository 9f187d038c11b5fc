// Where ExecuTorch keeps what in a program: the bytes of the header, and the numbers of the fields of the
// tables that the check reads, in the order of executorch/schema/program.fbs of the wheel. A union takes two
// numbers.
#pragma once

#include <cstdint>

namespace edge::program {

// The header behind the flatbuffer's first word.
constexpr uint64_t kIdentifierAt = 4;  // "ET12"
constexpr uint64_t kMagicAt = 8;       // "eh00"; without it there are no segments
constexpr uint64_t kHeaderBytesAt = 12;
constexpr uint64_t kProgramSizeAt = 16;
constexpr uint64_t kSegmentBaseAt = 24;
constexpr uint64_t kSegmentDataSizeAt = 32;
constexpr uint64_t kHeaderBytes = 24;          // at least
constexpr uint64_t kHeaderBytesWithSize = 32;  // with the size of the segments' data
constexpr uint64_t kHeadBytes = 64;            // of a file that the runtime reads first

namespace root {
constexpr int kPlans = 1, kInlineConstants = 2, kInlineDelegateData = 3, kSegments = 4, kConstants = 5,
              kMutableData = 6, kNamedData = 7;
}
namespace plan {
constexpr int kName = 0, kValues = 2, kInputs = 3, kOutputs = 4, kChains = 5, kOperators = 6, kDelegates = 7,
              kBufferSizes = 8, kBufferDevices = 9;
}
namespace tensor {
constexpr int kScalarType = 0, kStorageOffset = 1, kSizes = 2, kDimOrder = 3, kDataIndex = 5, kAllocation = 6,
              kDynamism = 8, kExtra = 9;
}
namespace extra_tensor_info {
constexpr int kLocation = 2, kDevice = 3;
}
namespace allocation {
constexpr int kMemoryId = 0, kOffsetLow = 1, kOffsetHigh = 2;
}
namespace evalue {
constexpr int kType = 0, kValue = 1;
}
namespace content {
constexpr int kOnly = 0;  // of Int, Bool, Double, String and every list
}
namespace op {
constexpr int kName = 0, kOverload = 1;
}
namespace chain {
constexpr int kInstructions = 2;
}
namespace instruction {
constexpr int kType = 0, kArguments = 1;
}
namespace call {
constexpr int kIndex = 0, kArguments = 1;  // of KernelCall and DelegateCall
}
namespace move {
constexpr int kFrom = 0, kTo = 1;
}
namespace jump {
constexpr int kCondition = 0, kDestination = 1;
}
namespace delegate {
constexpr int kId = 0, kProcessed = 1, kSpecs = 2;
}
namespace data_reference {
constexpr int kLocation = 0, kIndex = 1;
}
namespace compile_spec {
constexpr int kKey = 0, kValue = 1;
}
namespace buffer_device {
constexpr int kDevice = 1;
}
namespace inline_data {
constexpr int kBytes = 0;  // of Buffer and BackendDelegateInlineData
}
namespace segment {
constexpr int kOffset = 0, kSize = 1;
}
namespace subsegments {
constexpr int kSegment = 0, kOffsets = 1;
}
namespace named_data {
constexpr int kKey = 0, kSegment = 1;
}

// The union KernelTypes, with the 0 of a union that is not set.
enum class Kind : uint8_t {
  kNotSet,
  kNone,
  kInt,
  kBool,
  kDouble,
  kTensor,
  kString,
  kIntList,
  kDoubleList,
  kBoolList,
  kTensorList,
  kOptionalTensorList,
};

// The union InstructionArguments.
enum class Instruction : uint8_t { kNotSet, kKernelCall, kDelegateCall, kMove, kJumpFalse, kFree };

constexpr int8_t kExternal = 1;          // TensorDataLocation: in another file
constexpr int8_t kInSegment = 1;         // DataLocation of a delegate's data
constexpr int8_t kCpu = 0;               // DeviceType
constexpr int8_t kDynamicUnbound = 2;    // TensorShapeDynamism
constexpr uint32_t kMaxDims = 16;        // of the runtime
constexpr uint32_t kMaxNameBytes = 100;  // of an operator with its overload, in the runtime

// ScalarType: bytes of an element, 0 where the runtime knows no such type.
constexpr int element_bytes(int8_t scalar_type) {
  switch (scalar_type) {
    case 0:
    case 1:
    case 11:  // uint8, int8, bool
    case 12:
    case 13:
    case 16:
    case 17:
    case 23:
    case 24:
    case 25:
    case 26:  // small quantised and float types
      return 1;
    case 2:
    case 5:
    case 15:
    case 22:
    case 27:  // int16, half, bfloat16, bits16, uint16
      return 2;
    case 3:
    case 6:
    case 14:
    case 28:  // int32, float, qint32, uint32
      return 4;
    case 4:
    case 7:
    case 29:  // int64, double, uint64
      return 8;
    default:
      return 0;
  }
}

constexpr int8_t kBoolType = 11;
constexpr bool is_integer(int8_t scalar_type) {
  return scalar_type >= 0 && scalar_type <= 4;
}

}  // namespace edge::program
