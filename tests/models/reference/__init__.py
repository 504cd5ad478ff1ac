"""The definitions once more in plain Python, for tables to be compared with."""
