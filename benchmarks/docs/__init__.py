"""Numbers in the documents, filled in from result files."""
