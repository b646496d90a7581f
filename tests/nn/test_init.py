import torch

from mu2net.nn.init import torch_generator, truncated_normal


def test_equal_seeds_draw_equal_numbers_also_when_they_are_large():
    seed = 2**127 + 5
    first, second = (truncated_normal((4, 5), torch_generator(seed)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, truncated_normal((4, 5), torch_generator(seed + 1)))


def test_the_spread_is_the_one_asked_for():
    drawn = truncated_normal((200, 200), torch_generator(0), std=0.02)
    assert abs(drawn.std().item() - 0.02) < 5e-4
    assert abs(drawn.mean().item()) < 5e-4


def test_global_randomness_is_not_touched():
    before = torch.random.get_rng_state()
    truncated_normal((4, 5), torch_generator(0))
    assert torch.equal(before, torch.random.get_rng_state())
