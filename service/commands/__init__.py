"""The commands of `lacuna`, one subject per file."""
