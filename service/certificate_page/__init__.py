"""A certificate as a page for people who read law, not JSON."""
