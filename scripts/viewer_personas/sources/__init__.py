"""Where events, contents and users come from: settings, and one module a driver."""
