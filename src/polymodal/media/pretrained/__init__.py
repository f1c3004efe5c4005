"""Features by the name of the network that makes them: Whisper, and encoders of transformers."""
