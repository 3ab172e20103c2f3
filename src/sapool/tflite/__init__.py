"""TensorFlow Lite files: reading, one typed graph, edits, a verifier, writing."""
