"""The machine around the runtime: console, files, cache, processor."""
