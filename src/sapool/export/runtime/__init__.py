"""The interpreters: LiteRT's and TensorFlow Lite Micro's, each in a process of its own."""
