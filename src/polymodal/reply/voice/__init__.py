"""Text to speech, with the times of its sounds."""
