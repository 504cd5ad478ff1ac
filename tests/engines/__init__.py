"""The same models on Spark: macros and whole builds beside DuckDB."""
