"""The gated recurrent unit and its gradient through time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.amp import custom_bwd, custom_fwd


class Gru(torch.autograd.Function):
    """All steps of a GRU layer as one operation (Cho et al. 2014; reset gate as in torch).

    With a(t) and W h(t-1) each cut into three, r and z are the logistic function of the sums of
    their first two parts, n = tanh(a₃ + r ∘ (W h)₃), and h(t) = (1 - z) ∘ n + z ∘ h(t-1).

    As in ``elman``, whatever does not depend on the previous step is computed for all steps at
    once. So are the views of single steps, which would take a tenth of the time if made one by
    one.
    """

    @staticmethod
    @custom_fwd(device_type="cpu", cast_inputs=torch.float32)  # type: ignore[untyped-decorator]
    def forward(ctx: Any, a: Tensor, start: Tensor, weight: Tensor) -> Tensor:
        """Return the states h(1) … h(T), (T, B, H), from a (T, B, 3 H) and h(0) (B, H)."""
        size, transposed = start.shape[1], weight.t()
        products, fresh = torch.empty_like(a), torch.empty_like(a[..., :size])
        states = torch.cat((start[None], torch.empty_like(fresh)))  # (T + 1, B, H)
        gates, product = torch.split(products, [2 * size, size], 2)  # r and z; (W h)₃
        both = *torch.split(gates, size, 2), *torch.split(a, [2 * size, size], 2)
        each = products, gates, product, *both, fresh, states[:-1], states[1:]
        rows = zip(*(values.unbind() for values in each), strict=True)
        for whole, opened, last, reset, update, drive, candidate, n, h, out in rows:
            torch.mm(h, transposed, out=whole)
            opened.add_(drive).sigmoid_()
            torch.addcmul(candidate, reset, last, out=n).tanh_()
            torch.lerp(n, h, update, out=out)
        ctx.save_for_backward(products, fresh, states, weight)
        return states[1:]

    @staticmethod
    @custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of a, h(0) and W, given the gradient of the states.

        With δ(t) = ∂J/∂h(t), the gradient of a₃ is γ = δ (1 - z) (1 - n²); of (W h)₃, γ r; of the
        sum inside r, γ (W h)₃ r (1 - r); of the sum inside z, δ (h(t-1) - n) z (1 - z).
        """
        products, fresh, states, weight = ctx.saved_tensors
        size = fresh.shape[2]
        reset, update, product = torch.split(products, size, 2)
        to_fresh = (1 - update) * (1 - fresh * fresh)
        slopes, delta, state = (torch.empty_like(x) for x in (products, products, fresh))
        by_reset, by_update, by_product = torch.split(slopes, size, 2)
        torch.mul(to_fresh, product, out=by_reset).mul_(reset).mul_(1 - reset)
        torch.sub(states[:-1], fresh, out=by_update).mul_(update).mul_(1 - update)
        torch.mul(to_fresh, reset, out=by_product)
        later = torch.zeros_like(states[0])  # gradient of h(t) that comes from step t + 1
        three = (torch.unflatten(values, 2, (3, size)) for values in (slopes, delta))
        each = (*three, delta, state, update, gradients[0])
        rows = zip(*(values.unbind() for values in each), strict=True)
        for slope, out, d, h, z, upstream in reversed(list(rows)):
            torch.add(upstream, later, out=h)
            torch.mul(slope, h[:, None], out=out)
            later = torch.addmm(h * z, d, weight)
        by_weight = delta.flatten(0, 1).t() @ states[:-1].flatten(0, 1)
        by_a = torch.cat((delta[..., : 2 * size], state.mul_(to_fresh)), 2)
        return by_a, later, by_weight
