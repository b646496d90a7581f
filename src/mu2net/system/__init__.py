"""The façade that users import: ``mu2net.System``."""

from mu2net.system.facade import System

__all__ = ["System"]
