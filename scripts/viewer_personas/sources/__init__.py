"""Where events, contents and users come from: loading, and one module per driver."""
