"""Saves and restores the random generator of a regularizer or module."""

from __future__ import annotations

import torch

from lmgrid.spec import State


class WithGenerator:
    """Makes a class with a random generator ``draw`` an ``lmgrid.spec.Stateful``.

    >>> one, two = WithGenerator(), WithGenerator()
    >>> one.draw, two.draw = torch.Generator().manual_seed(1), torch.Generator()
    >>> two.load_state(one.state())
    >>> torch.equal(torch.rand(3, generator=one.draw), torch.rand(3, generator=two.draw))
    True
    """

    draw: torch.Generator

    def state(self) -> State:
        """Return the state of the generator."""
        return State({"draw": self.draw.get_state().numpy()}, {})

    def load_state(self, state: State) -> None:
        """Set the state of the generator."""
        self.draw.set_state(torch.from_numpy(state.arrays["draw"]))
