"""The fused operators as a TensorRT plugin."""
