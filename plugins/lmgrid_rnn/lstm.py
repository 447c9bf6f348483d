"""The long short-term memory and its gradient through time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Lstm(torch.autograd.Function):
    """All steps of an LSTM layer as one operation (Hochreiter and Schmidhuber 1997; Gers 2000).

    With a(t) + W h(t-1) cut into four, g = tanh(first) is the candidate and i, f, o, the
    logistic function of the others, are the gates:
    c(t) = f ∘ c(t-1) + i ∘ g,  h(t) = o ∘ tanh(c(t)).

    As in ``elman``, what does not need the step before is computed for all steps at once.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, h: Tensor, c: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return h(1) … h(T), (T, B, H), and c(T), (B, H), from a (T, B, 4 H), h(0) and c(0)."""
        steps, batch, _ = a.shape
        size = h.shape[1]
        gates, squashed = torch.empty_like(a), a.new_empty(steps, batch, size)
        hs, cs = a.new_empty(2, steps + 1, batch, size).unbind()
        hs[0], cs[0] = h, c
        transposed = weight.t()
        for t, gate in enumerate(gates.unbind()):
            torch.addmm(a[t], hs[t], transposed, out=gate)
            candidate, opened = gate[:, :size].tanh_(), gate[:, size:].sigmoid_()
            torch.mul(cs[t], opened[:, size : 2 * size], out=cs[t + 1])
            cs[t + 1].addcmul_(candidate, opened[:, :size])
            torch.tanh(cs[t + 1], out=squashed[t])
            torch.mul(squashed[t], opened[:, 2 * size :], out=hs[t + 1])
        ctx.save_for_backward(gates, hs, cs, squashed, weight)
        return hs[1:], cs[-1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the gradients of a, h(0), c(0) and W from those of the states and of c(T)."""
        gates, hs, cs, squashed, weight = ctx.saved_tensors
        steps, batch, size = squashed.shape
        candidate, opened_in, kept, opened_out = torch.split(gates, size, 2)
        # what ∂J/∂c(t) is multiplied by to give the slopes of candidate, input and forget gate
        by_cell = torch.empty(steps, batch, 3, size, dtype=gates.dtype, device=gates.device)
        torch.mul(1 - candidate * candidate, opened_in, out=by_cell[:, :, 0])
        torch.mul(candidate, opened_in * (1 - opened_in), out=by_cell[:, :, 1])
        torch.mul(cs[:-1], kept * (1 - kept), out=by_cell[:, :, 2])
        by_output = squashed * opened_out * (1 - opened_out)  # ∂J/∂h(t) to the output gate
        to_cell = opened_out * (1 - squashed * squashed)  # ∂h(t)/∂c(t)
        delta = torch.empty_like(gates)
        earlier = delta[:, :, : 3 * size].view(steps, batch, 3, size)
        last = delta[:, :, 3 * size :]
        later, cell = torch.zeros_like(hs[0]), gradients[1].clone()
        for t in reversed(range(steps)):
            state = gradients[0][t] + later
            cell.addcmul_(state, to_cell[t])
            torch.mul(state, by_output[t], out=last[t])
            torch.mul(cell[:, None], by_cell[t], out=earlier[t])
            cell.mul_(kept[t])
            later = delta[t] @ weight
        return delta, later, cell, delta.flatten(0, 1).t() @ hs[:-1].flatten(0, 1)
