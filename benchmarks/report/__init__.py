"""One self-contained page from result files of every kind, and its plots and tables by themselves.

content.py says what a page is made of, one module for each kind of result makes it, charts.py
draws, page.py and markdown.py write.
"""
