"""The fused LoRA-MoE operators: what each means, and its implementations."""
