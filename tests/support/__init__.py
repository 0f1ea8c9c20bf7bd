"""Helpers for the tests: real servers, waiting, ports, a clock that stands still. Import as `support.<module>`."""
