"""llama.cpp: built from source, with random weights of our shapes, timed by its own benchmark."""
