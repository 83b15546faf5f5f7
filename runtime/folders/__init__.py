"""Folders of pictures: the plan, the run, and which route each picture takes."""
