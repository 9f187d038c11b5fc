"""Where programs run: this machine, a phone, an emulated ARM core."""
