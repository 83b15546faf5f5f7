"""A bundle as a model repository of NVIDIA's Triton Inference Server.

Not to be confused with Triton the language, in which `lorair.kernels` are written.
"""
