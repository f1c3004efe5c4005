"""polymodal: learning from several modalities at once."""
