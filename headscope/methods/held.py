"""What is linear once the scale of every norm is held: norms, sums with norms on them, and a tangent."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from headscope.errors import UsageError
from headscope.methods.direct import Frozen, frozen
from headscope.models.program import Step

SAME = 1e-3
"""How near, over their size, two ways of adding must come to be taken for the same."""

Held = Frozen | Tensor
"""A norm with its scale held, a matrix, or a factor for each entry."""


class Joint(NamedTuple):
    """How something is added to the stream, with the norms held: `stream(x) + written(y) + offset`.

    Attributes:
        stream: a norm on the stream, or None.
        written: a norm on what is added, or None.
        offset: the norm's bias, or None.
    """

    stream: Frozen | None = None
    written: Frozen | None = None
    offset: Tensor | None = None


def wide(x: Tensor) -> Tensor:
    """In double precision on the CPU, where sums are made.

    Args:
        x: any tensor.
    """
    return x.detach().cpu().double()  # in this order: not every accelerator has double precision


def ahead(held: Held | None, vector: Float[Tensor, " width"]) -> Float[Tensor, " width_after"]:
    """A part of what a norm or a map reads as a part of what it makes, biases left out.

    Args:
        held: the norm or map; None for the identity.
        vector: before it.

    Example:
        >>> ahead(torch.tensor([[0.0, 2.0], [1.0, 0.0]]), torch.tensor([1.0, 3.0]))
        tensor([3., 2.])
    """
    if held is None:
        return vector
    if isinstance(held, Tensor):
        return vector @ held if held.dim() == 2 else vector * held
    return held.scale[0] * held.gain * (vector - vector.mean() if held.centred else vector)


def back(held: Held | None, direction: Float[Tensor, " width_after"]) -> Float[Tensor, " width"]:
    """A direction after a norm or a map as one before it: `ahead(x) . direction = x . back(direction)`.

    Args:
        held: the norm or map; None for the identity.
        direction: after it.

    Example:
        >>> back(torch.tensor([[0.0, 2.0], [1.0, 0.0]]), torch.tensor([1.0, 3.0]))
        tensor([6., 1.])
    """
    if held is None:
        return direction
    if isinstance(held, Tensor):
        return held @ direction if held.dim() == 2 else direction * held
    return held.back(direction[None])[0]


def held_at(norm: Step, at: Float[Tensor, " d_model"]) -> Frozen:
    """A norm with its scale held at a vector, in double precision.

    Args:
        norm: the norm.
        at: what it reads.

    Raises:
        UsageError: if it does something else than to centre, scale and shift.
    """
    made = frozen(norm, at[None])
    return Frozen(wide(made.gain), wide(made.scale), wide(made.offset), made.centred)


def joint(
    add: Callable[[Tensor, Tensor], Tensor], stream: Float[Tensor, " d_model"], written: Float[Tensor, " d_model"]
) -> Joint:
    """What an addition to the stream is, by what it does: plain, with a norm on what is added, or on the sum.

    Args:
        add: `Block.join` or `Block.leave`.
        stream: what is added to.
        written: what is added.

    Raises:
        UsageError: if it is something else.

    Example:
        >>> stream, written = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0.5, 1.0, 0.0])
        >>> joint(torch.add, stream, written)
        Joint(stream=None, written=None, offset=None)
        >>> norm = torch.nn.LayerNorm(3)
        >>> with torch.no_grad():
        ...     found = joint(lambda x, y: norm(x + y), stream, written)
        >>> torch.allclose(ahead(found.stream, stream.double()) + ahead(found.written, written.double()),
        ...                norm(stream + written).double(), atol=1e-6)
        True
    """
    zero, made = torch.zeros_like(stream), add(stream[None], written[None])[0]
    alone = add(zero[None], written[None])[0]
    tolerance = max(SAME, 8 * torch.finfo(stream.dtype).eps) * float(made.norm())
    if float((made - stream - alone).norm()) <= tolerance:
        if torch.equal(alone, written):
            return Joint()
        held = held_at(lambda x: add(torch.zeros_like(x), x), written)
        return Joint(None, held, held.offset)
    if float((made - add((stream + written)[None], zero[None])[0]).norm()) <= tolerance:
        held = held_at(lambda x: add(x, torch.zeros_like(x)), stream + written)
        return Joint(held, held, held.offset)
    given = "a block that adds to the residual stream in a way of its own"
    raise UsageError(given, "a sum, with a norm on it or on what is added", "use patching, which runs any model")


def tangent(
    activation: Step, at: Float[Tensor, " d_model"]
) -> tuple[Float[Tensor, " d_model"], Float[Tensor, " d_model"]]:
    """An activation's value and slope, entry by entry.

    Args:
        activation: of each entry by itself.
        at: where.

    Example:
        >>> tangent(torch.square, torch.tensor([1.0, 3.0]))
        (tensor([1., 9.]), tensor([2., 6.]))
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = at.clone().requires_grad_()
        made = activation(x)
        (slope,) = torch.autograd.grad(made.sum(), x)
    return made.detach(), slope
