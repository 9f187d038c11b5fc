// lowbit_runner runs an exported language model without Python. The library does the work; this function
// reads the command line and writes files and streams. Bad input gives a sentence on stderr and exit code 2.
#pragma once

// Exported from the Android app's library, so that an executable beside it runs the app's own code.
extern "C" __attribute__((visibility("default"))) int lowbit_runner_main(int argc, char** argv);
