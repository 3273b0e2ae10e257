"""What leaks, and what it costs."""
