"""Programs for developers: linting, measuring, killing; run by make or by hand."""
