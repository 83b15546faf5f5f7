"""Pictures decoded in child processes, which can be ended."""
