"""lorair-bench: timings and quality that can be trusted."""
