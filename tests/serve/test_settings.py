import pytest

from mu2net.errors import ConfigError
from mu2net.serve.settings import Settings


@pytest.mark.parametrize(
    "name", ["max_batch", "queue", "timeout", "drain", "max_body", "max_pixels", "max_images", "burst"]
)
def test_limits_are_positive(name):
    with pytest.raises(ConfigError, match=f"{name} is 0; expected more than 0"):
        Settings(**{name: 0})


@pytest.mark.parametrize("name", ["max_wait", "rate", "watch"])
def test_some_may_be_zero(name):
    assert getattr(Settings(**{name: 0.0}), name) == 0.0
    with pytest.raises(ConfigError, match=f"{name} is -1; expected 0 or more"):
        Settings(**{name: -1})


def test_a_request_has_to_fit_into_the_queue():
    with pytest.raises(ConfigError, match="max_images is 65, more than the 64 images that the queue holds"):
        Settings(max_images=65, queue=64)
    with pytest.raises(ConfigError, match="max_body is 2,000 bytes, more than the 1,999"):
        Settings(max_body=2000, max_bodies=1999)
