"""Routes: which experts a picture gets, and the files that hold them."""
