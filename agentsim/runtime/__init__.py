"""The simulation: agents, messages, network, clock, observers."""
