"""What is heard: acoustic features, speech activity, the clocks of two recordings."""
