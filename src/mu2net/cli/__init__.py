"""The command line: it parses, calls ``mu2net.system.System``, and prints.

No module here imports PyTorch, NumPy or a data base when it is itself imported, so that ``mu2net --help`` is quick.
"""

from mu2net.cli.app import app, main

__all__ = ["app", "main"]
