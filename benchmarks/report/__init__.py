"""One self-contained page from result files of every kind, and its plots and tables by themselves.

`content` says what a page is made of; `latency`, `kernels`, `quality` and `sections` make the
section of each kind of result; `charts` and `draw` draw, `build` writes.
"""
