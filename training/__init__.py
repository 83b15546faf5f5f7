"""The recipe of the default model: made pictures, three degradations, three stages.

Not part of the installed package. Run from the repository's root: `python -m training.train`.
"""
