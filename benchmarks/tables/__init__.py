"""The tables of every kind of result, for the terminal, the documents and the report alike."""
