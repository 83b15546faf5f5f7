"""How long each stage takes, each backend in a process of its own."""
