// Strings between Java, whose chars are UTF-16, and C++. JNI's own functions take a UTF-8 of their own, which
// ends the process where Android checks it and a path has characters beyond 16 bits.
#pragma once

#include <jni.h>

#include <string>

namespace lowbit_app {

// Returns UTF-8; null gives "". Half a surrogate pair becomes U+FFFD.
std::string from_java(JNIEnv* env, jstring text);

// Takes UTF-8; what is none becomes U+FFFD. Null with a pending exception if memory is short.
jstring to_java(JNIEnv* env, const std::string& text);

}  // namespace lowbit_app
