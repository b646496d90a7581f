"""What serving many tasks from one process gains: ``make bench-serving``."""
