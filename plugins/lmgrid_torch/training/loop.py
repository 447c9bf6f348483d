"""The training loop."""

from __future__ import annotations

from collections.abc import Generator

import torch

from lmgrid.spec import Progress
from lmgrid_torch.training.computation import CompileClock
from lmgrid_torch.training.step_stats import StepStats
from lmgrid_torch.training.trainer import Trainer


def descend(descent: Trainer, clock: CompileClock) -> Generator[Progress, float | None, None]:
    """Train the network of ``descent`` until the caller closes the generator.

    Yields at the first step at or past each multiple of ``recipe.point_interval`` tokens and at
    the end of each epoch, with the network ready to score. A resumed training also yields before
    its first step. The caller sends back the validation loss in nats per token, or None.

    Where a loss, gradient or weight is not finite, the loop does not yield but rolls back to the
    last point with a finite validation loss, or to the start, and halves the learning rate. Raises
    Diverged after too many rollbacks.
    """
    network, recipe = descent.network, descent.recipe
    tally = StepStats(getattr(network.output, "exact", True))
    if recipe.resume is not None:
        yield from pause(descent, Progress(descent.place.tokens, None))
    while True:  # once, and again after each rollback
        for batches in descent.steps():
            # Set the learning rate
            rate = descent.begin_step()
            tokens = sum(batch.tokens for batch in batches)
            # Add up the gradients of the batches of this step
            for batch in batches:
                with descent.computation.autocast(network.device):
                    loss, descent.carried = descent.loss(network, batch, descent.carried)
                penalty = sum(regularizer.loss(network) for regularizer in recipe.regularizers)
                total = loss + penalty
                # Weight each batch by its share of the tokens of the step
                share = torch.full_like(total, batch.tokens / tokens)
                total.backward(share)  # type: ignore[no-untyped-call]
                tally.add(batch.tokens, loss, penalty)
            # Let regularizers change gradients and weights; reporters see both gradients
            for reporter in recipe.reporters:
                reporter.gradients(network, updated=False)
            for regularizer in recipe.regularizers:
                tally.count(regularizer, regularizer.update(network, rate))
            for reporter in recipe.reporters:
                reporter.gradients(network, updated=True)
            # Update the weights
            may_yield = descent.end_step(batches)
            tally.keep_loss(descent.place.steps, len(batches))
            if not may_yield:
                continue
            # At the end of an interval or epoch: roll back, or report and wait for the caller
            if not descent.read_all(tally.total()):
                descent.roll_back()
                tally.undo()
                break
            progress = tally.report(descent.place.tokens, clock.take())
            yield from pause(descent, progress)


def pause(descent: Trainer, progress: Progress) -> Generator[Progress, float | None, None]:
    """Yield with the network and optimizer set for scoring, then set them for training again."""
    descent.rest()
    answer = yield progress
    descent.resume(answer)
