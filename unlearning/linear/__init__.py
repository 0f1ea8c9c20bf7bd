"""Iterative solvers of the linear forgetting problem: what the exact solver does, without a factorization."""
