"""What a clinic's local steps add up to in one round, for strategies that correct for it."""

from embryofl.settings import SGD_MOMENTUM, TrainSettings


def local_steps(settings: TrainSettings, embryos: int) -> float:
    """Weight of a clinic's local steps in its update if all gradients were alike: for AdamW their number; for SGD with
    momentum rho, the sum over all steps of ``(1 - rho ** steps left) / (1 - rho)``.

    Wang et al., "Tackling the Objective Inconsistency Problem in Heterogeneous Federated Optimization", NeurIPS 2020,
    https://arxiv.org/abs/2007.07481, section 4 (the norm of a_i; Nesterov's variant differs by less than one step).
    """
    steps, rho = settings.steps(embryos), SGD_MOMENTUM
    if settings.optimiser != "sgd":
        return float(steps)
    return (steps - rho * (1 - rho**steps) / (1 - rho)) / (1 - rho)


def local_travel(settings: TrainSettings, embryos: int, rate_scale: float) -> float:
    """Sum of the learning rates of a clinic's local steps: SCAFFOLD's K times eta. `rate_scale`: see `RunSettings`."""
    return settings.steps(embryos) * settings.learning_rate * rate_scale
