"""Exports: to files and to Druid, with the record of what was published."""
