"""Noise added to weights before they are published: how it is drawn, rounded and chosen."""
