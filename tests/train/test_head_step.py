import pytest
import torch
from torch.nn import functional as F

from mu2net.train.head_step import HeadStep, Stack, is_finite, whole_lines

DIM, CLASSES, BATCH = 20, 5, 6


def make_stack(number: int, *, has_norm: bool) -> Stack:
    random = torch.Generator().manual_seed(0)
    parameters = torch.zeros(number, CLASSES + 2 * has_norm, whole_lines(DIM + 1))
    parameters[:, :, :DIM] = torch.randn(number, parameters.shape[1], DIM, generator=random)
    parameters[:, :CLASSES, DIM] = torch.randn(number, CLASSES, generator=random)
    parameters[:, CLASSES + 1 :, DIM] = 1.0
    momentum, is_nesterov = [0.9] * number, [row % 2 == 0 for row in range(number)]
    return Stack(parameters, torch.zeros_like(parameters), DIM, CLASSES, momentum, is_nesterov)


def make_batch() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.randn(BATCH, DIM, generator=random), torch.randint(CLASSES, (BATCH,), generator=random)


def loss_of(parameters: torch.Tensor, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    if len(parameters) > CLASSES:
        features = features * parameters[CLASSES, :DIM] + parameters[CLASSES + 1, :DIM]
    return F.cross_entropy(features @ parameters[:CLASSES, :DIM].T + parameters[:CLASSES, DIM], labels)


@pytest.mark.parametrize("has_norm", [True, False])
def test_losses_and_norms_are_those_of_backpropagation(has_norm):
    stack, (features, labels) = make_stack(3, has_norm=has_norm), make_batch()
    step = HeadStep(stack, BATCH)
    losses, norms = step.gradients(step.inputs([features]) * 3, labels)
    for row, loss, norm in zip(stack.parameters, losses, norms, strict=True):
        exact = row.double().requires_grad_()
        expected = loss_of(exact, features.double(), labels)
        expected.backward()
        assert loss == pytest.approx(float(expected.detach()), rel=1e-6)
        assert norm == pytest.approx(float(exact.grad.norm()), rel=1e-6)


@pytest.mark.parametrize("has_norm", [True, False])
def test_a_small_step_goes_down_the_gradient_and_leaves_the_rest_of_the_layout(has_norm):
    stack, (features, labels) = make_stack(2, has_norm=has_norm), make_batch()
    before, step = stack.parameters.clone(), HeadStep(stack, BATCH)
    losses, norms = step.gradients(step.inputs([features]) * 2, labels)
    step.descend(norms, [1e-3, 1e-3], [True, True])
    after, _ = step.gradients(step.inputs([features]) * 2, labels)
    for one, other, norm in zip(losses, after, norms, strict=True):
        assert other < one
        assert norm > 1.0
    assert torch.equal(stack.parameters[:, :, DIM + 1 :], before[:, :, DIM + 1 :])
    assert torch.equal(stack.parameters[:, CLASSES:, DIM:], before[:, CLASSES:, DIM:])
    assert not torch.equal(stack.parameters[:, :CLASSES, DIM], before[:, :CLASSES, DIM])
    assert not stack.momenta[:, :, DIM + 1 :].any()


def test_gradients_alone_change_nothing_and_untaken_steps_neither():
    stack, (features, labels) = make_stack(2, has_norm=True), make_batch()
    before, step = stack.parameters.clone(), HeadStep(stack, BATCH)
    _, norms = step.gradients(step.inputs([features]) * 2, labels)
    assert torch.equal(stack.parameters, before)
    step.descend(norms, [0.1, 0.1], [False, True])
    assert torch.equal(stack.parameters[0], before[0])
    assert not torch.equal(stack.parameters[1], before[1])
    assert not stack.momenta[0].any()


def test_children_with_their_own_features_read_them():
    stack, (features, labels) = make_stack(2, has_norm=False), make_batch()
    step = HeadStep(stack, BATCH)
    losses, _ = step.gradients(step.inputs([features, features * 2]), labels)
    assert losses[1] == pytest.approx(float(loss_of(stack.parameters[1], features * 2, labels)), rel=1e-6)


def test_rows_are_copied_and_the_first_ones_are_views():
    stack = make_stack(3, has_norm=True)
    moved = stack.rows([2, 0, 1])
    assert torch.equal(moved.parameters[0], stack.parameters[2])
    assert moved.is_nesterov == [True, True, False]
    moved.first(1).parameters.zero_()
    assert not moved.parameters[0].any()
    assert stack.parameters[2].any()


@pytest.mark.parametrize(("size", "expected"), [(1, 16), (16, 16), (17, 32), (193, 208)])
def test_sizes_are_filled_up_to_cache_lines(size, expected):
    assert whole_lines(size) == expected


def test_a_step_needs_a_finite_loss_and_a_finite_gradient():
    assert is_finite(1.0, 0.0)
    assert not is_finite(float("nan"), 0.0)
    assert not is_finite(1.0, float("inf"))
