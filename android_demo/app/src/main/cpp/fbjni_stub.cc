// Stands in for libfbjni.so, which the npm package's libexecutorch.so needs for Java classes of its own. This
// app has none of those classes, so nothing calls these functions; a loader only wants to see their names.

#define UNUSED_FUNCTION(name)                                               \
  extern "C" __attribute__((visibility("default"), noreturn)) void name() { \
    __builtin_trap();                                                       \
  }

UNUSED_FUNCTION(_ZN8facebook3jni10JByteOrder11nativeOrderEv)
UNUSED_FUNCTION(_ZN8facebook3jni10initializeEP7_JavaVMONSt6__ndk18functionIFvvEEE)
UNUSED_FUNCTION(_ZN8facebook3jni11Environment7currentEv)
UNUSED_FUNCTION(_ZN8facebook3jni11JByteBuffer5orderENS0_9alias_refINS0_10JByteOrderEEE)
UNUSED_FUNCTION(_ZN8facebook3jni11JByteBuffer9wrapBytesEPhm)
UNUSED_FUNCTION(_ZN8facebook3jni12make_jstringEPKc)
UNUSED_FUNCTION(_ZN8facebook3jni14findClassLocalEPKc)
UNUSED_FUNCTION(_ZN8facebook3jni15JPrimitiveArrayIP10_jintArrayE9getRegionEiiPi)
UNUSED_FUNCTION(_ZN8facebook3jni15JPrimitiveArrayIP11_jbyteArrayE9getRegionEiiPa)
UNUSED_FUNCTION(_ZN8facebook3jni15JPrimitiveArrayIP11_jlongArrayE9getRegionEiiPl)
UNUSED_FUNCTION(_ZN8facebook3jni15JPrimitiveArrayIP11_jlongArrayE9setRegionEiiPKl)
UNUSED_FUNCTION(_ZN8facebook3jni15JPrimitiveArrayIP12_jfloatArrayE9getRegionEiiPf)
UNUSED_FUNCTION(_ZN8facebook3jni15findClassStaticEPKc)
UNUSED_FUNCTION(_ZN8facebook3jni15make_long_arrayEi)
UNUSED_FUNCTION(_ZN8facebook3jni19throwCppExceptionIfEb)
UNUSED_FUNCTION(_ZN8facebook3jni21throwNewJavaExceptionEP11_jthrowable)
UNUSED_FUNCTION(_ZN8facebook3jni21throwNewJavaExceptionEPKcS2_)
UNUSED_FUNCTION(_ZN8facebook3jni38throwPendingJniExceptionAsCppExceptionEv)
UNUSED_FUNCTION(_ZN8facebook3jni43translatePendingCppExceptionToJavaExceptionEv)
UNUSED_FUNCTION(_ZN8facebook3jni6detail10HybridData6createEv)
UNUSED_FUNCTION(_ZN8facebook3jni6detail12JniEnvCacherC1EP7_JNIEnv)
UNUSED_FUNCTION(_ZN8facebook3jni6detail12JniEnvCacherD1Ev)
UNUSED_FUNCTION(
    _ZN8facebook3jni6detail16HybridDestructor16setNativePointerENSt6__ndk110unique_ptrINS1_15BaseHybridClassENS3_14default_deleteIS5_EEEE)
UNUSED_FUNCTION(_ZNK8facebook3jni6detail16HybridDestructor16getNativePointerEv)
UNUSED_FUNCTION(_ZNK8facebook3jni7JBuffer16getDirectAddressEv)
UNUSED_FUNCTION(_ZNK8facebook3jni7JBuffer17getDirectCapacityEv)
UNUSED_FUNCTION(_ZNK8facebook3jni7JString11toStdStringEv)
