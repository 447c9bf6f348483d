"""The training loop, on one screen."""

from __future__ import annotations

from collections.abc import Generator

import torch

from lmgrid.spec import Progress
from lmgrid_torch.training.computation import CompileClock
from lmgrid_torch.training.step_stats import StepStats
from lmgrid_torch.training.trainer import Trainer


def descend(descent: Trainer, clock: CompileClock) -> Generator[Progress, float | None, None]:
    """Lower the loss on the training text, until the caller closes the generator.

    Yields at the first step at or past each multiple of ``recipe.point_interval`` tokens and at
    the end of each epoch, with the network ready to score; a training that was taken up again
    yields first where it stands. Where a loss, gradient or weight is not finite, it goes back
    instead; Diverged if it went back too often.
    """
    network, recipe = descent.network, descent.recipe
    tally = StepStats(getattr(network.output, "exact", True))
    if recipe.resume is not None:
        yield from pause(descent, Progress(descent.place.tokens, None))
    while True:  # once, and again after each way back
        for batches in descent.steps():
            rate = descent.begin_step()
            tokens = sum(batch.tokens for batch in batches)
            for batch in batches:
                with descent.computation.autocast(network.device):
                    loss, descent.carried = descent.loss(network, batch, descent.carried)
                penalty = sum(regularizer.loss(network) for regularizer in recipe.regularizers)
                total = loss + penalty
                share = torch.full_like(total, batch.tokens / tokens)  # of the step's mean
                total.backward(share)  # type: ignore[no-untyped-call]
                tally.add(batch.tokens, loss, penalty)
            for reporter in recipe.reporters:
                reporter.gradients(network, updated=False)
            for regularizer in recipe.regularizers:
                tally.count(regularizer, regularizer.update(network, rate))
            for reporter in recipe.reporters:
                reporter.gradients(network, updated=True)
            may_yield = descent.end_step(batches)
            tally.keep_loss(descent.place.steps, len(batches))
            if not may_yield:
                continue
            if not descent.read_all(tally.total()):
                descent.roll_back()
                tally.undo()
                break
            progress = tally.report(descent.place.tokens, clock.take())
            yield from pause(descent, progress)


def pause(descent: Trainer, progress: Progress) -> Generator[Progress, float | None, None]:
    """Yield with what scores in place, and train on with what trains."""
    descent.rest()
    answer = yield progress
    descent.resume(answer)
