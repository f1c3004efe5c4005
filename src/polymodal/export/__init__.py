"""A run as files that need neither torch nor polymodal: an ONNX graph, JSON, a script."""
