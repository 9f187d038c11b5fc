// Calls the app's native methods without a Java VM: a table of the JNI functions that they use, with objects
// that hold a string or longs. For tests of the libraries of an APK.
//     no_jvm MODEL IDS COUNT STOP_AFTER
// generates COUNT tokens on one thread, prints them and the statistics; the listener refuses from STOP_AFTER on.
#include <jni.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct Object {
  jsize length;
  jchar* units;  // of a string
  jlong* longs;  // of an array
};

static struct Object* thrown;
static long given, stop_after;

jlong Java_org_lowbit_demo_core_Native_open(JNIEnv*, jclass, jstring, jint);
void Java_org_lowbit_demo_core_Native_close(JNIEnv*, jclass, jlong);
jstring Java_org_lowbit_demo_core_Native_generate(JNIEnv*, jclass, jlong, jlongArray, jlong, jlong, jdouble,
                                                  jdouble, jint, jlong, jobject);

static struct Object* make(jsize length, const jchar* units) {
  struct Object* object = calloc(1, sizeof(*object));
  object->length = length;
  object->units = malloc(sizeof(jchar) * (size_t)(length + 1));
  memcpy(object->units, units, sizeof(jchar) * (size_t)length);
  return object;
}

static struct Object* string_of(const char* text) {
  jchar units[4096];
  jsize length = 0;
  while (text[length] != '\0' && length < 4096) units[length] = (unsigned char)text[length], ++length;
  return make(length, units);
}

static void print(const struct Object* text) {
  for (jsize i = 0; i < text->length; ++i) putchar(text->units[i]);
  putchar('\n');
}

static jsize JNICALL length_of(JNIEnv* env, jobject object) {
  (void)env;
  return ((struct Object*)object)->length;
}

static void JNICALL copy_units(JNIEnv* env, jstring text, jsize from, jsize count, jchar* to) {
  (void)env;
  memcpy(to, ((struct Object*)text)->units + from, sizeof(jchar) * (size_t)count);
}

static void JNICALL copy_longs(JNIEnv* env, jlongArray array, jsize from, jsize count, jlong* to) {
  (void)env;
  memcpy(to, ((struct Object*)array)->longs + from, sizeof(jlong) * (size_t)count);
}

static jstring JNICALL new_string(JNIEnv* env, const jchar* units, jsize length) {
  (void)env;
  return (jstring)make(length, units);
}

static jboolean JNICALL is_thrown(JNIEnv* env) {
  (void)env;
  return thrown != NULL;
}

static jclass JNICALL find_class(JNIEnv* env, const char* name) {
  (void)env;
  return (jclass)string_of(name);
}

static jclass JNICALL class_of(JNIEnv* env, jobject object) {
  (void)env;
  return (jclass)object;
}

static jmethodID JNICALL method_of(JNIEnv* env, jclass type, const char* name, const char* signature) {
  (void)env, (void)type, (void)signature;
  return (jmethodID)string_of(name);
}

static jobject JNICALL new_exception(JNIEnv* env, jclass type, jmethodID method, va_list arguments) {
  (void)env, (void)type, (void)method;
  return va_arg(arguments, jobject);  // its message
}

static jint JNICALL throw_it(JNIEnv* env, jthrowable exception) {
  (void)env;
  thrown = (struct Object*)exception;
  return 0;
}

static jboolean JNICALL on_token(JNIEnv* env, jobject listener, jmethodID method, va_list arguments) {
  (void)env, (void)listener, (void)method;
  printf(given == 0 ? "%ld" : ",%ld", (long)va_arg(arguments, jlong));
  return ++given < stop_after;
}

static const struct JNINativeInterface_ kFunctions = {
    .GetStringLength = (jsize(JNICALL*)(JNIEnv*, jstring))length_of,
    .GetStringRegion = copy_units,
    .GetArrayLength = (jsize(JNICALL*)(JNIEnv*, jarray))length_of,
    .GetLongArrayRegion = copy_longs,
    .NewString = new_string,
    .ExceptionCheck = is_thrown,
    .FindClass = find_class,
    .GetObjectClass = class_of,
    .GetMethodID = method_of,
    .NewObjectV = new_exception,
    .Throw = throw_it,
    .CallBooleanMethodV = on_token,
};

int main(int count, char** words) {
  if (count != 5) return 1;
  JNIEnv env = &kFunctions;
  jlong ids[64];
  struct Object tokens = {.longs = ids}, listener = {0};
  for (char* id = strtok(words[2], ","); id != NULL && tokens.length < 64; id = strtok(NULL, ","))
    ids[tokens.length++] = atol(id);
  stop_after = atol(words[4]);
  const jlong handle = Java_org_lowbit_demo_core_Native_open(&env, NULL, (jstring)string_of(words[1]), 1);
  jstring statistics = NULL;
  if (handle != 0) {
    statistics = Java_org_lowbit_demo_core_Native_generate(&env, NULL, handle, (jlongArray)&tokens, 0,
                                                           atol(words[3]), 0, 1, 0, 0, (jobject)&listener);
    putchar('\n');
  }
  print(thrown != NULL ? thrown : (struct Object*)statistics);
  Java_org_lowbit_demo_core_Native_close(&env, NULL, handle);
  return thrown != NULL ? 2 : 0;
}
