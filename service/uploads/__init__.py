"""Records that arrive: received into a file without a name, checked completely, then stored."""
