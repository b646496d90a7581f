"""Evidence that searching pays: agents on a folder of tasks at equal time; see ``benchmarks/README.md``."""
