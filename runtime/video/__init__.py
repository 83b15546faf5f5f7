"""Video: frame by frame, with a route that changes only when the weather does."""
