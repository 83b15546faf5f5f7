"""The commands of lorair-bench, one file each."""
