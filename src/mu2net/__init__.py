"""One image-classification network that keeps learning: tasks are added for ever, nothing is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mu2net.errors import Mu2NetError
    from mu2net.system import System

__all__ = ["Mu2NetError", "System", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the façade when it is first used: reading the package must not import PyTorch."""
    if name == "System":
        from mu2net.system import System

        return System
    if name == "Mu2NetError":
        from mu2net.errors import Mu2NetError

        return Mu2NetError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
