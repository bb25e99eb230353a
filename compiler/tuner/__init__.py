"""Search for faster schedules and choices, and keep what was measured as records."""
