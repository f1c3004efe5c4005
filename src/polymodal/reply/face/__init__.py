"""A portrait that speaks: its mesh moved by sounds and manner, filmed with the sound."""
