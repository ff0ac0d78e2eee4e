"""Our optimisers do what PyTorch's classes of the same names do, and do not import PyTorch's compiler."""

import subprocess
import sys

import pytest
import torch

from embryofl.optimisers import OPTIMISERS
from embryofl.settings import SGD_MOMENTUM

pytestmark = pytest.mark.integration

RATE, DECAY = 0.01, 0.05


def pytorchs(name, parameters):
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": DECAY},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=RATE)
    return torch.optim.SGD(groups, lr=RATE, momentum=SGD_MOMENTUM, nesterov=True)


def trained(make):
    """All weights after twenty steps; in every third, one layer has no gradient."""
    torch.manual_seed(0)
    first, second = torch.nn.Linear(20, 30), torch.nn.Linear(20, 2)
    parameters = [*first.parameters(), *second.parameters()]
    optimiser, scaler = make(parameters), torch.amp.GradScaler("cpu", enabled=False)
    for number in range(20):
        optimiser.zero_grad()
        images = torch.randn(8, 20)
        loss = second(images).square().mean() + (first(images).abs().mean() if number % 3 else 0)
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()
    return torch.cat([p.detach().flatten() for p in parameters])


@pytest.mark.parametrize("name", sorted(OPTIMISERS))
def test_weights_are_those_of_pytorchs_class(name):
    ours = trained(lambda parameters: OPTIMISERS[name](parameters, RATE, DECAY))
    assert torch.equal(ours, trained(lambda parameters: pytorchs(name, parameters)))


def test_training_does_not_import_the_compiler():
    code = (
        "import sys, torch; from embryofl.optimisers import OPTIMISERS\n"
        "for make in OPTIMISERS.values():\n"
        "    weight = torch.nn.Parameter(torch.ones(2, 2))\n"
        "    optimiser = make([weight], 0.1, 0.1)\n"
        "    weight.sum().backward()\n"
        "    optimiser.step()\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
