"""A finished run with all that counterfactual runs start from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headscope import metrics
from headscope.models.program import Program, attend, pattern, repeated, visible
from headscope.prompts import Pairs
from headscope.replay.reading import Reader


@dataclass(frozen=True, eq=False, kw_only=True)
class Base:
    """The parts of a run that replays need: residual streams, keys, values and head outputs of every layer.

    Memory: examples x positions x layers x (d_model + heads x d_head + 2 x key-value heads x d_head) values.

    Attributes:
        program: the model, cut open.
        reader: reads the metric off the last residual stream.
        mask: True where a token is real.
        residual: the residual stream before each block.
        k, v: keys (rotated) and values of each layer.
        z: every head's output of each layer.
        last: the residual stream after the last block, where the metric reads.
        metric: the metric of the run itself, for each example.
        also: further metrics of the run itself, by name.
        held: what was computed of the layer at hand.
    """

    program: Program
    reader: Reader
    mask: Bool[Tensor, "example position"]
    residual: list[Float[Tensor, "example position d_model"]] = field(repr=False)
    k: list[Float[Tensor, "example position kv_head d_head"]] = field(repr=False)
    v: list[Float[Tensor, "example position kv_head d_head"]] = field(repr=False)
    z: list[Float[Tensor, "example position head d_head"]] = field(repr=False)
    last: Float[Tensor, "example read d_model"] = field(repr=False)
    metric: Float[Tensor, " example"]
    also: dict[str, Float[Tensor, " example"]] = field(default_factory=dict)
    held: dict[tuple[int, str], Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return self.mask.shape[0]

    @property
    def width(self) -> int:
        """Positions, padding included."""
        return self.mask.shape[1]

    @cached_property
    def places(self) -> Int[Tensor, " position"]:
        """0, 1, 2, ..."""
        return torch.arange(self.width, device=self.mask.device)

    def seen(self, layer: int) -> Bool[Tensor, "*row query key"]:
        """Which keys each position sees."""
        block = self.program.blocks[layer]
        seen = visible(block, self.places, self.width, causal=self.program.causal)
        return self.mask[:, None, :].expand(-1, self.width, -1) if seen is None else seen

    def q(self, layer: int) -> Float[Tensor, "example position head d_head"]:
        """Queries of a layer, computed from its residual stream."""
        return self._of_layer(layer, "q", lambda: self.program.queries(layer, self._read(layer), self.places))

    def attention(self, layer: int) -> Float[Tensor, "example position d_model"]:
        """What a layer's attention writes, after W_O."""
        return self._of_layer(layer, "out", lambda: self.program.blocks[layer].out(self.z[layer].flatten(2)))

    def mlp(self, layer: int, *, frozen: bool = False) -> Float[Tensor, "example position d_model"] | None:
        """What a parallel MLP writes, which no edit of the same layer changes; None where it comes after attention.

        Args:
            layer: whose MLP.
            frozen: give what it writes in any case, for runs in which it keeps that.
        """
        block, before = self.program.blocks[layer], self.residual[layer]
        if not (block.parallel or frozen):
            return None
        return self._of_layer(
            layer, "mlp", lambda: block.mlp(before if block.parallel else block.join(before, self.attention(layer)))
        )

    def pattern(self, layer: int) -> Float[Tensor, "example head query key"]:
        """Attention patterns of a layer."""
        block, heads = self.program.blocks[layer], self.program.heads
        k = repeated(self.k[layer], heads)
        return self._of_layer(layer, "pattern", lambda: pattern(block, self.q(layer), k, self.seen(layer)))

    def _read(self, layer: int) -> Tensor:
        return self.program.blocks[layer].enter(self.residual[layer])

    def _of_layer(self, layer: int, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """Computed once while replays stay at one layer; what attention and MLPs write, for frozen layers, is kept."""
        for other in [key for key in self.held if key[0] != layer and key[1] not in {"out", "mlp"}]:
            del self.held[other]
        if (layer, name) not in self.held:
            self.held[layer, name] = compute()
        return self.held[layer, name]

    def site(self, name: str, layer: int) -> Tensor:
        """What stands at an edit's site: `z`, `q`, `k`, `v` or `pattern`."""
        if name in {"q", "pattern"}:
            return getattr(self, name)(layer)
        return getattr(self, name)[layer]


@torch.no_grad()
def run(
    program: Program, pairs: Pairs, tokens: Int[Tensor, "example position"], also: Sequence[metrics.Metric] = ()
) -> Base:
    """Run prompts once and keep what replays need.

    Args:
        program: the model, cut open.
        pairs: what is read, and the mask.
        tokens: the pairs' own clean or corrupted tokens.
        also: further metrics to read.

    Returns:
        The run. Cost: one forward for each example, all positions, and what `Reader.of` needs.
    """
    device = program.unembed.weight.device
    mask = pairs.mask.to(device)
    reader = Reader.of(program, pairs, also)
    residual = program.embed(tokens.to(device), mask)
    streams, keys, values, outputs = [], [], [], []
    places = torch.arange(mask.shape[1], device=device)
    for layer, block in enumerate(program.blocks):
        x = block.enter(residual)
        q, k, v = program.queries(layer, x, places), program.keys(layer, x, places), program.values(layer, x)
        seen = visible(block, places, len(places), causal=program.causal)
        z = attend(block, q, k, v, mask[:, None, :] if seen is None else seen).contiguous()
        for kept, part in zip((streams, keys, values, outputs), (residual, k, v, z), strict=True):
            kept.append(part)
        middle = block.join(residual, block.out(z.flatten(2)))
        residual = block.leave(middle, block.mlp(residual if block.parallel else middle))
    everyone = torch.arange(len(mask), device=device)
    last = reader.gather(residual, everyone)
    metric, *others = reader.values(last, everyone)
    return Base(
        program=program,
        reader=reader,
        mask=mask,
        residual=streams,
        k=keys,
        v=values,
        z=outputs,
        last=last,
        metric=metric,
        also={metrics.name_of(each): value for each, value in zip(reader.also, others, strict=True)},
    )
