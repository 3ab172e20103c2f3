"""Generated C that streams rows: toolchain, emulator, kernels."""
