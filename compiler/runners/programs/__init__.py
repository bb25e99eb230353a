"""C sources of the programs that run in an emulator, and of the emulator's plugin."""
