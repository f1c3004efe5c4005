"""Task metrics as the field computes them, intervals, significance."""
