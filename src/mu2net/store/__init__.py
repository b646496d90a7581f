"""What lies on disk: components, and the registry of tasks, paths and cycles."""
