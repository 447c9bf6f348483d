"""The gated recurrent unit and its gradient through time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Gru(torch.autograd.Function):
    """All steps of a GRU layer as one operation (Cho et al. 2014; the reset as in torch's).

    With a(t) and W h(t-1) each cut into three, r and z are the logistic function of the sums of
    their first two parts, n = tanh(a₃ + r ∘ (W h)₃), and h(t) = (1 - z) ∘ n + z ∘ h(t-1).

    As in ``elman``, what does not need the step before is computed for all steps at once.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, start: Tensor, weight: Tensor) -> Tensor:
        """Return the states h(1) … h(T), (T, B, H), from a (T, B, 3 H) and h(0) (B, H)."""
        steps, batch, _ = a.shape
        size, transposed = start.shape[1], weight.t()
        products = torch.empty_like(a)  # r, z and (W h)₃
        fresh, hs = a.new_empty(steps, batch, size), a.new_empty(steps + 1, batch, size)
        hs[0] = start
        for t, product in enumerate(products.unbind()):
            torch.mm(hs[t], transposed, out=product)
            gates = product[:, : 2 * size].add_(a[t, :, : 2 * size]).sigmoid_()
            reset, update = torch.split(gates, size, 1)
            torch.addcmul(a[t, :, 2 * size :], reset, product[:, 2 * size :], out=fresh[t]).tanh_()
            torch.lerp(fresh[t], hs[t], update, out=hs[t + 1])
        ctx.save_for_backward(products, fresh, hs, weight)
        return hs[1:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of a, h(0) and W from that of the states."""
        products, fresh, hs, weight = ctx.saved_tensors
        size = fresh.shape[2]
        reset, update, product = torch.split(products, size, 2)
        to_fresh = (1 - update) * (1 - fresh * fresh)
        to_update = (hs[:-1] - fresh) * update * (1 - update)
        to_reset = product * reset * (1 - reset)
        delta, outer = torch.empty_like(products), torch.empty_like(fresh)  # of W h, and of a₃
        later = torch.zeros_like(hs[0])
        for t in reversed(range(len(fresh))):
            state = gradients[0][t] + later
            by_reset, by_update, by_product = torch.split(delta[t], size, 1)
            torch.mul(state, to_fresh[t], out=outer[t])
            torch.mul(state, to_update[t], out=by_update)
            torch.mul(outer[t], to_reset[t], out=by_reset)
            torch.mul(outer[t], reset[t], out=by_product)
            later = torch.addmm(state * update[t], delta[t], weight)
        by_weight = delta.flatten(0, 1).t() @ hs[:-1].flatten(0, 1)
        return torch.cat((delta[:, :, : 2 * size], outer), 2), later, by_weight
