"""What leaves: files and Druid, and the record of what was published."""
