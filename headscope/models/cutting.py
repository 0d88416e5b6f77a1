"""From a wrapped model to its `Program`, checked against the model itself, or to the reason why there is none."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from headscope.models import placing
from headscope.models.families import FAMILIES, linear, part
from headscope.models.program import Block, Distant, Program, Projection, attend, visible

PLACES = 4096
"""Positions whose rotation is kept from the start, if the context is longer."""


class Cut(NamedTuple):
    """A program, or None and why there is none."""

    program: Program | None
    reason: str = ""


class _Reached(Exception):
    """Thrown out of a forward pass at the first block: what stands before it is all that is wanted."""


def state_of(bridge: Any) -> tuple[Any, ...]:
    """What a program was made from: where the weights lie, how often they were changed, and which hooks there are.

    A program made before is stale when this has changed: weights are replaced, or changed in place, by
    TransformerLens's compatibility mode or by the user, or a hook is added or removed. A change that goes round
    torch's own count, through `weight.data`, does not show here (most programs see it all the same, as their weights
    are views of the model's).

    Args:
        bridge: a TransformerBridge.

    Returns:
        Something to compare. Cost: a look at each module and weight, no number is read.
    """
    model = bridge.original_model
    hooks = tuple(key for module in bridge.modules() for key in (*module._forward_hooks, *module._forward_pre_hooks))
    weights = tuple(
        (value.data_ptr(), 0 if value.is_inference() else value._version)
        for value in (*nn.Module.parameters(model), *nn.Module.buffers(model))
    )
    return bridge.training, model.training, hooks, weights


def cut(bridge: Any, *, check: Callable[[Program], float], tolerance: float) -> Cut:
    """The program of a wrapped model.

    Args:
        bridge: a TransformerBridge in evaluation mode.
        check: the largest relative difference between a program's logits and the model's.
        tolerance: the largest that is accepted.

    Returns:
        The program; or None with the reason, in words for people. Cost: one short forward of each.
    """
    model = bridge.original_model
    kind = getattr(getattr(model, "config", None), "model_type", "")
    if kind not in FAMILIES:
        return Cut(None, f"architecture {kind or type(model).__name__!r} cannot be started in the middle")
    try:
        program = _assemble(bridge, model, kind)
        difference = check(program)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as problem:
        return Cut(None, f"this {kind} model is not laid out as expected ({problem})")
    if not difference <= tolerance:
        return Cut(None, f"this {kind} model computes something else than its weights say ({difference:.1e} apart)")
    return Cut(program)


def _assemble(bridge: Any, model: nn.Module, kind: str) -> Program:
    config: Any = model.config
    family = FAMILIES[kind]
    stack = part(model, family.layers)
    layers = [part(stack, str(index)) for index in range(len(bridge.blocks))]
    norm = part(model, family.norm) if family.norm else None
    heads = int(bridge.cfg.n_heads)
    home = placing.home(model)
    blocks = tuple(gathered(family.block(layer, config, index), home) for index, layer in enumerate(layers))
    d_head = blocks[0].query.weight.shape[1] // heads
    rotary = part(model, family.rotary) if family.rotary else None
    return Program(
        embed=_embedding(bridge, home),
        blocks=blocks,
        rotate=None if rotary is None else _rotation(rotary, int(bridge.cfg.n_ctx)),
        norm=_same if norm is None else near(norm, placing.lies(norm, home), home),
        transform=part(model, family.transform) if family.transform else None,
        unembed=_unembedding(linear(part(model, family.unembed))),
        softcap=getattr(config, "final_logit_softcapping", None),
        heads=heads,
        kv_heads=blocks[0].key.weight.shape[1] // d_head,
        d_head=d_head,
        causal=family.causal,
    )


def _same(x: Tensor) -> Tensor:
    return x


def _unembedding(found: Projection | Distant) -> Projection:
    """The unembedding stays in memory: every metric reads it."""
    return found.fetch() if isinstance(found, Distant) else found


def near(step: Callable[..., Tensor], place: torch.device, home: torch.device) -> Callable[..., Tensor]:
    """A step that is computed where its weights lie, of tensors that come from home and go back there.

    Args:
        step: of one tensor or more.
        place: where it is computed.
        home: where tensors go in and come out.

    Example:
        >>> here = torch.device("cpu")
        >>> near(torch.neg, here, here) is torch.neg
        True
    """
    if place == home:
        return step

    def run(*given: Tensor) -> Tensor:
        return step(*(each.to(place) for each in given)).to(home)

    return run


def gathered(block: Block, home: torch.device) -> Block:
    """A block of which every part takes and gives tensors on one device, wherever its weights lie.

    Args:
        block: cut out of the model.
        home: that device.

    Returns:
        The same block, if it lies there.
    """
    if isinstance(block.out, Distant) or block.out.weight.device == home:
        return block
    place = block.out.weight.device

    def away(step: Any) -> Any:
        return step if step is None or step is torch.add else near(step, place, home)

    def far(of: Any) -> Distant:
        return Distant(fetch=lambda: of, home=home, numel=of.weight.numel())

    steps = {name: away(getattr(block, name)) for name in ("enter", "shape_q", "shape_k", "join", "mlp", "leave")}
    return replace(block, **steps, **{name: far(getattr(block, name)) for name in ("query", "key", "value", "out")})


def _embedding(bridge: Any, home: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """The model's own way up to its first block, stopped there."""

    def embed(tokens: Tensor, mask: Tensor) -> Tensor:
        held: list[Tensor] = []

        def stop(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            held.append(args[0] if args else kwargs["hidden_states"])
            raise _Reached

        handle = bridge.blocks[0].register_forward_pre_hook(stop, with_kwargs=True)
        try:
            with torch.no_grad():
                bridge(tokens, attention_mask=mask.long())
        except _Reached:
            pass
        finally:
            handle.remove()
        return held[0].detach().to(home)

    return embed


def _rotation(rotary: nn.Module, longest: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Rotary positions, for the first dimensions of each head as many as the model rotates."""
    tables: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}

    def table(x: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        key = (x.device, x.dtype)
        # A table for every position of a long context would weigh more than what is run.
        needed = longest if longest <= PLACES else max(PLACES, int(places.max()) + 1)
        if key not in tables or len(tables[key][0]) < needed:
            with torch.no_grad():
                cos, sin = (each.to(x.device) for each in rotary(x, torch.arange(needed, device=x.device)[None]))
            tables[key] = (cos[0, :, None], sin[0, :, None])
        return tables[key]

    def rotate(x: Tensor, places: Tensor) -> Tensor:
        cos, sin = (each[places] for each in table(x, places))
        size, half = cos.shape[-1], cos.shape[-1] // 2
        first, second = x[..., :half], x[..., half:size]
        if torch.is_grad_enabled():
            one = torch.addcmul(first * cos[..., :half], second, sin[..., :half], value=-1)
            other = torch.addcmul(second * cos[..., half:], first, sin[..., half:])
            return torch.cat([one, other, x[..., size:]], -1)
        # Written where it belongs: to put the parts together takes longer than to turn them.
        out = torch.empty_like(x)
        torch.mul(first, cos[..., :half], out=out[..., :half]).addcmul_(second, sin[..., :half], value=-1)
        torch.mul(second, cos[..., half:], out=out[..., half:size]).addcmul_(first, sin[..., half:])
        out[..., size:] = x[..., size:]
        return out

    return rotate


@torch.no_grad()
def last_stream(
    program: Program, tokens: Int[Tensor, "example position"], mask: Bool[Tensor, "example position"]
) -> Float[Tensor, "example position d_model"]:
    """The residual stream after the last block, part by part.

    Args:
        program: the parts.
        tokens: right-padded token ids, where the model runs.
        mask: True where a token is real.

    Returns:
        The stream before the last norm. Cost: one forward for each example.
    """
    residual = program.embed(tokens, mask)
    places = torch.arange(tokens.shape[1], device=tokens.device)
    for layer, block in enumerate(program.blocks):
        x = block.enter(residual)
        q, k, v = program.queries(layer, x, places), program.keys(layer, x, places), program.values(layer, x)
        seen = visible(block, places, len(places), causal=program.causal)
        z = attend(block, q, k, v, mask[:, None, :] if seen is None else seen)
        middle = block.join(residual, block.out(z.flatten(2)))
        residual = block.leave(middle, block.mlp(residual if block.parallel else middle))
    return residual


@torch.no_grad()
def whole(
    program: Program, tokens: Int[Tensor, "example position"], mask: Bool[Tensor, "example position"]
) -> Float[Tensor, "example position vocabulary"]:
    """The logits of a whole run, part by part: what the check compares with the model's own.

    Args:
        program: the parts.
        tokens: right-padded token ids, where the model runs.
        mask: True where a token is real.

    Returns:
        Logits in float32. Cost: one forward for each example.
    """
    return program.logits(program.norm(last_stream(program, tokens, mask)))
