"""Pictures of a system: what it knows, what is shared, what it cost, and how it was found."""
