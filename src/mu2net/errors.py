"""Every exception that mu2net raises on purpose.

```
Mu2NetError
├── ConfigError               a value that the user gave is not possible
│   ├── UnknownNameError      a mistyped task, root, agent, column, …; names the closest match
│   └── RangeError            a hyperparameter value that is not in its list
├── DataError                 the images or labels of a task
│   ├── SourceError           the folder, file or hub data set as a whole
│   └── ImageError            one image that does not decode
├── RootError                 a pretrained root that cannot be read, or does not fit
├── BudgetError               a budget that is too small for any result
├── StoreError                what lies on disk
│   ├── ComponentError        a component missing, truncated or altered
│   ├── FormatError           a system of another format version
│   ├── LockedError           another process evolves this task
│   ├── LeaseLostError        another process took over what this one was doing
│   └── UnknownComponentError a digest that nobody published
├── PrivacyError              data of a task would shape another one that may not use it
├── ExportError               a task cannot be handed out in a format, or would answer otherwise there
└── WorkerError               a worker process failed, or ended without an answer
```

``TrainingStopped`` of ``mu2net.train.events`` is a ``Mu2NetError`` too: training that was told to stop at once.

A message names the object, what was expected, what was found, and the way out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Mu2NetError(Exception):
    """Base of all errors that mu2net raises on purpose."""


class ConfigError(Mu2NetError):
    """A value that the user gave is not possible."""


class UnknownNameError(ConfigError):
    """A name that is not known; the message lists the closest match.

    Args:
        kind: What was named, for instance ``"task"``.
        name: The unknown name.
        known: The names that exist.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        if close:
            hint = f"did you mean {close[0]!r}?"
        elif names:
            shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
            hint = f"known: {shown}"
        else:
            hint = "there are none yet"
        super().__init__(f"unknown {kind} {name!r}; {hint}")
        self.kind, self.name, self.known = kind, name, names

    def __reduce__(self) -> tuple[type[UnknownNameError], tuple[str, str, list[str]]]:
        """Return how to rebuild the error on the other side of a process border."""
        return type(self), (self.kind, self.name, self.known)


class RangeError(ConfigError):
    """A hyperparameter value that is not in its ordered list."""


class DataError(Mu2NetError):
    """The images or the labels of a task cannot be used."""


class SourceError(DataError):
    """A folder, file or hub data set cannot be used as a whole."""


class ImageError(DataError):
    """One image does not decode."""


class RootError(Mu2NetError):
    """A pretrained root cannot be read, or does not fit."""


class BudgetError(Mu2NetError):
    """A budget is too small for any result."""


class StoreError(Mu2NetError):
    """What lies on disk is not what it should be."""


class ComponentError(StoreError):
    """A component is missing, truncated or altered."""


class FormatError(StoreError):
    """A system was written in another format version."""


class LockedError(StoreError):
    """Another process evolves this task."""


class LeaseLostError(StoreError):
    """Another process took over what this one was doing; nothing of it was written."""


class UnknownComponentError(StoreError):
    """A digest that nobody published."""


class PrivacyError(Mu2NetError):
    """Data of a task would shape another one that may not use it."""


class ExportError(Mu2NetError):
    """A task cannot be handed out in a format, or would answer otherwise there; nothing was written."""


class WorkerError(Mu2NetError):
    """A worker process failed, or ended without an answer."""
