"""Tables that people write, and data sets that come as tables: columns, labels, splits."""
