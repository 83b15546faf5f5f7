"""Whether a graph computes what PyTorch computes, and where not, which node differs."""
