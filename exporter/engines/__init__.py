"""TensorRT engines from graphs: sizes, the process that builds, the proof of precision."""
