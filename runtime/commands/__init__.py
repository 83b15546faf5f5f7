"""The commands of lorair-run, one file each, and what they share."""
