"""What the operator of a server decides."""

from __future__ import annotations

from dataclasses import dataclass, fields

from mu2net.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """Limits and times of a server.

    Args:
        max_batch: Most images that run through the network together.
        max_wait: How long the first image of a batch waits for others, in seconds.
        queue: Most images that wait; a request beyond that is told to come again.
        timeout: How long a request may take, in seconds.
        drain: How long requests may go on after the server was told to stop, in seconds.
        max_body: Longest request body, in bytes.
        max_bodies: Bytes of bodies that all requests together may hold.
        max_pixels: Largest image, in pixels.
        max_images: Most images of a request.
        rate: Most requests per second of one client, on average; 0 for no limit.
        burst: How many requests a client may send at once.
        watch: Seconds between looks for new, updated and removed tasks; 0 for none.

    Raises:
        ConfigError: A value is not positive, or what one request may send is more than all together may hold.
    """

    max_batch: int = 32
    max_wait: float = 0.002
    queue: int = 512
    timeout: float = 30.0
    drain: float = 30.0
    max_body: int = 32 * 2**20
    max_bodies: int = 512 * 2**20
    max_pixels: int = 40_000_000
    max_images: int = 64
    rate: float = 0.0
    burst: int = 20
    watch: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            may_be_zero = field.name in ("max_wait", "rate", "watch")
            if not (value > 0 or (may_be_zero and value == 0)):
                raise ConfigError(f"{field.name} is {value}; expected {'0 or more' if may_be_zero else 'more than 0'}")
        if self.max_images > self.queue:
            raise ConfigError(
                f"max_images is {self.max_images}, more than the {self.queue} images that the queue holds; "
                "such a request could never be answered"
            )
        if self.max_body > self.max_bodies:
            raise ConfigError(
                f"max_body is {self.max_body:,} bytes, more than the {self.max_bodies:,} that all requests together "
                "may hold (max_bodies), so it could never be answered; lower max_body or raise max_bodies"
            )
