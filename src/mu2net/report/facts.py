"""The base of everything that a report holds."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Facts(BaseModel):
    """Base of all parts: they never change, and hold nothing that is not named."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
