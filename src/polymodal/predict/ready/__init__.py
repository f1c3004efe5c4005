"""Runs that are there by name: what they are, where they are, how they are built."""
