"""A made-up service, and how well its planted behaviour is recovered."""
