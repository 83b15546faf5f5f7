"""From modules to ONNX graphs, and from one graph to another."""
