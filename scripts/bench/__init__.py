"""Benchmarks and comparisons. Not part of the wheel."""
