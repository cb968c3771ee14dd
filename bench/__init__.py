"""Measurements of the whole: each a command whose last line is a JSON object."""
