"""The commands of lorair-export, one file each, and what they share."""
