"""Whether a change made anything slower."""
