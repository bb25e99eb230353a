"""Rules for CPUs with vector registers."""
