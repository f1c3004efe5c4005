"""Whole folders of clips: a table in, workers, parts, a store out."""
