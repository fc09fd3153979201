"""Runs, their records, and the report: what was compared, how, and which difference is real."""
