"""One file per task: labels, loss, columns of predictions, metrics. Found by name with ``core.find_task``."""
