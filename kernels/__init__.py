"""The fused LoRA-MoE operators, each with one meaning in several homes."""
