"""Trains the children of a group on shared batches."""
