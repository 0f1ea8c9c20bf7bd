"""Doing a model's history over again, for auditors: everything is read, nothing is believed, nothing is changed."""
