"""A synthetic service, and how well its planted behaviour is recovered."""
