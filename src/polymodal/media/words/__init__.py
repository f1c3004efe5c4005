"""What is said: recognisers, transcripts, subtitles, words on the axis of features."""
