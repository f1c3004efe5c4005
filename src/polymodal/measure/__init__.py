"""Behaviour in a recording, measured without labels and training: voice, pauses, face, head, synchrony."""
