"""The C engine: an int8 network as plain C that streams rows, without an interpreter."""
