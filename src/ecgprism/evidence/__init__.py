"""What a model, and each view of it, is worth."""
