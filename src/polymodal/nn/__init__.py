"""Building blocks without a paper's name."""
