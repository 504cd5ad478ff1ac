"""The DuckDB file: connections, the raw tables, and their copy as Parquet."""
