"""A clip as it is stored: containers, codecs, times, pictures, where one utterance ends."""
