"""A folder for Polygraphy, which `folder.py` writes; the other modules are copied into it."""
