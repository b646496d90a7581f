import pytest
import torch
from torch import nn

from mu2net.errors import ConfigError
from mu2net.train.optimizer import SlotOptimizer


def module(*values: float) -> nn.Module:
    linear = nn.Linear(len(values), 1, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([values]))
    return linear


def loss_of(linear: nn.Module, *slope: float) -> torch.Tensor:
    return (linear.weight * torch.tensor([slope])).sum()


def weights(linear: nn.Module) -> list[float]:
    return linear.weight.detach().flatten().tolist()


def test_momentum_follows_the_heavy_ball_rule():
    head = module(1.0)
    optimizer = SlotOptimizer({"head": head}, momentum=0.5, is_nesterov=False, inherited={})
    assert optimizer.step([loss_of(head, 0.5)], 0.1) == pytest.approx(0.5)
    assert weights(head) == pytest.approx([1 - 0.1 * 0.5])
    optimizer.step([loss_of(head, 0.5)], 0.1)
    assert weights(head) == pytest.approx([0.95 - 0.1 * 0.75])
    assert optimizer.momentum()["head"]["weight"].item() == pytest.approx(0.75)


def test_nesterov_looks_ahead():
    head = module(1.0)
    SlotOptimizer({"head": head}, momentum=0.5, is_nesterov=True, inherited={}).step([loss_of(head, 0.5)], 0.1)
    assert weights(head) == pytest.approx([1 - 0.1 * (0.5 + 0.5 * 0.5)])


def test_inherited_momentum_acts_in_the_first_step_and_is_not_written_to():
    head, buffer = module(1.0), torch.tensor([[2.0]])
    optimizer = SlotOptimizer({"head": head}, momentum=0.5, is_nesterov=False, inherited={"head": {"weight": buffer}})
    optimizer.step([loss_of(head, 0.5)], 0.1)
    assert weights(head) == pytest.approx([1 - 0.1 * (0.5 * 2.0 + 0.5)])
    assert buffer.item() == 2.0


def test_clipping_spans_all_trained_slots_and_no_others():
    first, second, frozen = module(0.0), module(0.0), module(0.0)
    slots = {"norm": first, "head": second}
    optimizer = SlotOptimizer(slots, momentum=0.0, is_nesterov=True, inherited={})
    loss = loss_of(first, 3.0) + loss_of(second, 4.0) + loss_of(frozen, 1000.0)
    optimizer.step([loss], 1.0)
    assert weights(first) + weights(second) == pytest.approx([-0.6, -0.8], rel=1e-4)
    assert weights(frozen) == [0.0]


def test_small_gradients_are_not_scaled_up():
    head = module(0.0)
    SlotOptimizer({"head": head}, momentum=0.9, is_nesterov=False, inherited={}).step([loss_of(head, 0.01)], 1.0)
    assert weights(head) == pytest.approx([-0.01])


@pytest.mark.parametrize("slope", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_changes_nothing(slope):
    head = module(1.0)
    optimizer = SlotOptimizer({"head": head}, momentum=0.9, is_nesterov=False, inherited={})
    assert optimizer.step([loss_of(head, slope)], 0.1) is None
    assert weights(head) == [1.0]
    assert optimizer.momentum()["head"]["weight"].item() == 0.0


def test_a_gradient_that_is_not_finite_changes_nothing_though_the_loss_is():
    head = module(0.0)
    optimizer = SlotOptimizer({"head": head}, momentum=0.9, is_nesterov=False, inherited={})
    assert optimizer.step([loss_of(head, 1.0).sqrt()], 0.1) is None
    assert weights(head) == [0.0]


def test_momentum_that_does_not_fit_is_an_error():
    inherited = {"head": {"weight": torch.zeros(2, 2)}}
    with pytest.raises(ConfigError, match="slot 'head': inherited momentum has shapes"):
        SlotOptimizer({"head": module(1.0)}, momentum=0.9, is_nesterov=False, inherited=inherited)


def test_nothing_to_train_is_an_error():
    with pytest.raises(ConfigError, match="trains no parameters"):
        SlotOptimizer({}, momentum=0.9, is_nesterov=False, inherited={})


def test_losses_are_backpropagated_one_by_one_and_add_up():
    whole, parts, asked = module(1.0, 2.0), module(1.0, 2.0), []
    SlotOptimizer({"head": whole}, momentum=0.9, is_nesterov=False, inherited={}).step([loss_of(whole, 0.3, 0.4)], 0.1)
    optimizer = SlotOptimizer({"head": parts}, momentum=0.9, is_nesterov=False, inherited={})

    def losses():
        for slope in ((0.3, 0.0), (0.0, 0.4)):
            asked.append(None if parts.weight.grad is None else parts.weight.grad.flatten().tolist())
            yield loss_of(parts, *slope)

    assert optimizer.step(losses(), 0.1) == pytest.approx(0.3 + 0.8)
    assert asked == [None, pytest.approx([0.3, 0.0])]
    assert parts.weight.grad is None
    assert weights(parts) == pytest.approx(weights(whole))


def test_a_later_loss_that_is_not_finite_undoes_the_earlier_ones():
    head = module(1.0)
    optimizer = SlotOptimizer({"head": head}, momentum=0.9, is_nesterov=False, inherited={})
    assert optimizer.step([loss_of(head, 0.5), loss_of(head, float("nan"))], 0.1) is None
    assert head.weight.grad is None
    optimizer.step([loss_of(head, 0.5)], 0.1)
    assert weights(head) == pytest.approx([1 - 0.1 * 0.5])


@pytest.mark.parametrize(("momentum", "is_nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_steps_have_the_bits_of_pytorchs_optimiser(momentum, is_nesterov):
    ours, theirs = module(0.5, -1.25, 3.0), module(0.5, -1.25, 3.0)
    optimizer = SlotOptimizer({"head": ours}, momentum=momentum, is_nesterov=is_nesterov, inherited={})
    reference = torch.optim.SGD(theirs.parameters(), lr=0.3, momentum=momentum, nesterov=is_nesterov, fused=True)
    for number in range(5):
        slope = (0.1 * number, 0.3, -0.2)
        optimizer.step([loss_of(ours, *slope)], 0.3)
        reference.zero_grad()
        loss_of(theirs, *slope).backward()
        reference.step()
    assert torch.equal(ours.weight, theirs.weight)


def test_a_parameter_without_a_gradient_stays_as_it_is():
    used, unused = module(1.0), module(2.0)
    slots = {"block_00": unused, "head": used}
    SlotOptimizer(slots, momentum=0.5, is_nesterov=False, inherited={}).step([loss_of(used, 0.5)], 0.1)
    assert weights(unused) == [2.0]
    assert weights(used) == pytest.approx([0.95])
