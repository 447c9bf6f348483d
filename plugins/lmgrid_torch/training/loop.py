"""The training loop of networks: when it takes a step, yields or rolls back."""

from __future__ import annotations

from collections.abc import Generator

import torch

from lmgrid.spec import Progress
from lmgrid_torch.training.computation import CompileClock
from lmgrid_torch.training.step_stats import StepStats
from lmgrid_torch.training.trainer import Trainer


def train_network(trainer: Trainer, clock: CompileClock) -> Generator[Progress, float | None, None]:
    """Train the network of ``trainer`` until the caller closes the generator.

    Yields at the first step at or past each multiple of ``recipe.point_interval`` tokens and at
    the end of each epoch, with the network ready to score. A resumed training also yields before
    its first step. The caller sends back the validation loss in nats per token, or None.

    Where a loss, gradient or weight is not finite, the loop does not yield but rolls back to the
    last point with a finite validation loss, or to the start, and halves the learning rate. Raises
    Diverged after too many rollbacks.
    """
    network, recipe = trainer.network, trainer.recipe
    stats = StepStats(getattr(network.output, "exact", True))
    if recipe.resume is not None:
        yield from pause(trainer, Progress(trainer.position.tokens, None))
    while True:  # once, and again after each rollback
        for batches in trainer.steps():
            # Set the learning rate
            rate = trainer.begin_step()
            tokens = sum(batch.tokens for batch in batches)
            # Add up the gradients of the batches of this step
            for batch in batches:
                with trainer.computation.autocast(network.device):
                    loss, trainer.carried = trainer.loss(network, batch, trainer.carried)
                penalty = sum(regularizer.loss(network) for regularizer in recipe.regularizers)
                total = loss + penalty
                # Weight each batch by its share of the tokens of the step
                share = torch.full_like(total, batch.tokens / tokens)
                total.backward(share)  # type: ignore[no-untyped-call]
                stats.add(batch.tokens, loss, penalty)
            # Let regularizers change gradients and weights; reporters see both gradients
            for reporter in recipe.reporters:
                reporter.gradients(network, updated=False)
            for regularizer in recipe.regularizers:
                stats.count(regularizer, regularizer.update(network, rate))
            for reporter in recipe.reporters:
                reporter.gradients(network, updated=True)
            # Update the weights
            may_yield = trainer.end_step(batches)
            stats.keep_loss(trainer.position.steps, len(batches))
            if not may_yield:
                continue
            # At the end of an interval or epoch: roll back, or report and wait for the caller
            if not trainer.all_finite(stats.total()):
                trainer.roll_back()
                stats.undo()
                break
            progress = stats.report(trainer.position.tokens, clock.take())
            yield from pause(trainer, progress)


def pause(trainer: Trainer, progress: Progress) -> Generator[Progress, float | None, None]:
    """Yield with the network and optimizer set for scoring, then set them for training again."""
    trainer.set_for_scoring()
    answer = yield progress
    trainer.set_for_training(answer)
