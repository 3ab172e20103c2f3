// An int8 network for TensorFlow Lite Micro, written by sapool.
// Measured with tflite-micro 0.dev20261023182759, 64-bit: head 7168, tail 8768 bytes of arena.
//
// The operators it needs:
//   tflite::MicroMutableOpResolver<6> resolver;
//   resolver.AddAdd();
//   resolver.AddAveragePool2D();
//