"""Real servers for tests: Druid, a server that speaks MongoDB's protocol, and a proxy of faults."""
