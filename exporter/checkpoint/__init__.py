"""Checkpoints: files of weights, the YAML beside them, the hub, drawn ones."""
