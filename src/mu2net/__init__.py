"""One image-classification network that keeps learning."""
