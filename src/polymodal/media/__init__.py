"""From a clip to features: decoding, speech, transcription, acoustic, face and text features, whole folders."""
