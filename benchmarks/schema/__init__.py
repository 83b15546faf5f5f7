"""What a result file holds: one versioned JSON schema for every command of lorair-bench.

The format is written down in docs/results.md. Durations are in seconds, memory is in bytes.
"""
