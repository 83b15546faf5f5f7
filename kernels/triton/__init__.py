"""The fused operators as Triton kernels."""
