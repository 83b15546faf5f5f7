"""Offline: checkpoint to bundle. PyTorch lives here."""
