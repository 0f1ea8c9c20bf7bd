"""Answering predictions: from the newest version, or not at all."""
