"""A trained run applied to a clip or a stream: what it says when, how sure it is, what each modality contributed."""
