"""Corpora: readers, store, loader, planted data."""
