"""The command line: a thin layer of options and words over the steps."""
