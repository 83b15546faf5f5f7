"""The runtime: a bundle and a picture in, a restored picture out. No PyTorch."""
