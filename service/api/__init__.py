"""The HTTP interface under /v1, one router per file."""
