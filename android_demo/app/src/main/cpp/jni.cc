// The native methods of org.lowbit.demo.core.Native, without logic of their own: each converts its arguments,
// calls edge_runner (runner/application.h) and converts the answer. A failure throws java.io.IOException.
#include <jni.h>

#include <memory>
#include <new>
#include <string>
#include <vector>

#include "jni_strings.h"
#include "runner/application.h"

namespace {

using edge_runner::BenchmarkConfig;
using edge_runner::GenerateConfig;
using edge_runner::Session;
using lowbit_app::from_java;
using lowbit_app::to_java;

Session* session_of(jlong handle) {
  return reinterpret_cast<Session*>(handle);
}

std::vector<int64_t> longs(JNIEnv* env, jlongArray array) {
  if (array == nullptr) return {};
  std::vector<jlong> values(static_cast<size_t>(env->GetArrayLength(array)));
  env->GetLongArrayRegion(array, 0, static_cast<jsize>(values.size()), values.data());
  return {values.begin(), values.end()};
}

// Throws an IOException with the sentence, unless an exception is on its way already.
void throw_failure(JNIEnv* env, const std::string& sentence) {
  if (env->ExceptionCheck()) return;
  const jclass type = env->FindClass("java/io/IOException");
  if (type == nullptr) return;
  const jmethodID constructor = env->GetMethodID(type, "<init>", "(Ljava/lang/String;)V");
  const jstring message = to_java(env, sentence);
  if (message == nullptr) return;
  const auto exception = static_cast<jthrowable>(env->NewObject(type, constructor, message));
  if (exception != nullptr) env->Throw(exception);
}

jstring answer(JNIEnv* env, bool ok, const std::string& json, const std::string& error) {
  if (!ok) throw_failure(env, error);
  return env->ExceptionCheck() ? nullptr : to_java(env, json);
}

}  // namespace

// A loader looks for this name in this library and then in those that it needs. ExecuTorch's has a JNI_OnLoad
// that registers Java classes which this app does not have.
extern "C" JNIEXPORT jint JNICALL JNI_OnLoad(JavaVM*, void*) {
  return JNI_VERSION_1_6;
}

extern "C" JNIEXPORT jlong JNICALL Java_org_lowbit_demo_core_Native_open(JNIEnv* env, jclass, jstring path,
                                                                         jint threads) {
  auto session = std::make_unique<Session>();
  std::string error;
  if (!session->open(from_java(env, path), threads, &error)) {
    throw_failure(env, error);
    return 0;
  }
  return reinterpret_cast<jlong>(session.release());
}

extern "C" JNIEXPORT void JNICALL Java_org_lowbit_demo_core_Native_close(JNIEnv*, jclass, jlong handle) {
  delete session_of(handle);
}

extern "C" JNIEXPORT jstring JNICALL Java_org_lowbit_demo_core_Native_describe(JNIEnv* env, jclass,
                                                                               jlong handle) {
  return to_java(env, session_of(handle)->describe());
}

extern "C" JNIEXPORT void JNICALL Java_org_lowbit_demo_core_Native_setWidths(JNIEnv* env, jclass,
                                                                             jlong handle, jlongArray bits) {
  std::string error;
  if (!session_of(handle)->set_widths(longs(env, bits), &error)) throw_failure(env, error);
}

extern "C" JNIEXPORT jstring JNICALL Java_org_lowbit_demo_core_Native_generate(
    JNIEnv* env, jclass, jlong handle, jlongArray tokens, jlong position, jlong max_new_tokens,
    jdouble temperature, jdouble top_p, jint top_k, jlong seed, jobject listener) {
  GenerateConfig config;
  config.prompt = longs(env, tokens);
  config.position = position;
  config.max_new_tokens = max_new_tokens;
  config.sampling = {temperature, top_p, top_k, static_cast<uint64_t>(seed)};
  const jmethodID on_token = env->GetMethodID(env->GetObjectClass(listener), "onToken", "(J)Z");
  const auto wanted = [&](int64_t id) {
    return env->CallBooleanMethod(listener, on_token, static_cast<jlong>(id)) && !env->ExceptionCheck();
  };
  std::string json, error;
  const bool ok = session_of(handle)->generate(config, wanted, &json, &error);
  return answer(env, ok, json, error);
}

extern "C" JNIEXPORT jstring JNICALL Java_org_lowbit_demo_core_Native_benchmark(
    JNIEnv* env, jclass, jstring path, jlongArray prompt_lengths, jlongArray contexts, jlong generate,
    jlong warmup, jlong runs, jint threads) {
  BenchmarkConfig config;
  config.model = from_java(env, path);
  config.prompt_lengths = longs(env, prompt_lengths);
  config.contexts = longs(env, contexts);
  config.generate = generate;
  config.warmup = warmup;
  config.runs = runs;
  config.threads = threads;
  std::string json, error;
  const bool ok = edge_runner::run_benchmark(config, &json, &error);
  return answer(env, ok, json, error);
}

extern "C" JNIEXPORT jstring JNICALL Java_org_lowbit_demo_core_Native_memory(JNIEnv* env, jclass) {
  return to_java(env, edge_runner::memory_json());
}
