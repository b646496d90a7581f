from __future__ import annotations

from tests.system.conftest import evolved, evolved_template, one_thread, template, train_here

__all__ = ["evolved", "evolved_template", "one_thread", "template", "train_here"]
