// Writes the JSON that the runner prints and that applications read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace edge_runner {

std::string number(double value);
std::string integers(const std::vector<int64_t>& values);
std::string quoted(const std::string& text);  // which may hold any bytes but zero

// An object on one line, with its members in the order in which they were added.
class JsonObject {
 public:
  void add(const std::string& name, const std::string& json);
  void add(const std::string& name, int64_t value) { add(name, std::to_string(value)); }
  std::string text() const { return "{" + body_ + "}"; }

 private:
  std::string body_;
};

}  // namespace edge_runner
