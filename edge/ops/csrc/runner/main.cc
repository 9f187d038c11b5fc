#include "runner/command_line.h"

int main(int argc, char** argv) {
  return lowbit_runner_main(argc, argv);
}
