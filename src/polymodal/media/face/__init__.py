"""What is seen: one face, followed and described."""
