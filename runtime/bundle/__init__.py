"""What is deployed: the manifest, and the engines and kernels beside the graphs."""
