"""Tuning records: measured choices, kept for each target and never used for another."""
