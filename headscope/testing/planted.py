"""GPT-2 models with heads written by hand, so that the right answer of a head analysis is known exactly.

The residual stream is split into four subspaces that do not overlap:

    token      the code of the token at this position        written by the embedding
    position   the code of the position                      written by the embedding
    previous   the code of the token one position back       written by the induction pair's first head
    output     the code of the token that should come next   written by the induction head; the unembedding reads it

Each code is a one-hot vector less its mean, which makes two things exact. A LayerNorm finds a mean of 0 and, at
the start, a length of sqrt(width), so it changes nothing; later writes only scale the stream by a factor between
.65 and 1, which the margins below absorb. And unequal codes all have the same inner product, so a query that looks
for one code gives every other key the same score, which the softmax ignores.

A head is given by what its queries look for in its keys: token matches position by position (duplicate), a
position one back (previous token), position 0 (first token), or a match of this token with the previous token of
another position (induction, which reads what the first head of its pair wrote: K-composition). MLPs are zero; so is
every other head, or it is small noise. Heads outside the pair copy what they attend to faintly into the output, so
that an edit of theirs acts without hiding the pair's effect.
"""

import math
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from headscope.errors import UsageError
from headscope.grid import Grid

Head = tuple[int, int]

_GRID = Grid(layers=4, heads=4)

_SHARPNESS = 30.0
"""The score, before the LayerNorm's scale, by which what a head looks for beats the rest."""

_FAINT = 0.05
"""How strongly a head outside the induction pair copies, next to the pair."""

_LOGIT = 12.0
"""The logit of the token that the induction head copies, before the LayerNorm's scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """Which heads a planted model has: the known answer. A head is (layer, head), both from 0; None plants none.

    Attributes:
        previous_token: attends from every position to the one before.
        duplicate_token: attends to the earlier copies of a token; to position 0 where there is none.
        induction: a previous-token head and, in a later layer, a head that attends to the token after an earlier
            copy and predicts it; to its own position where there is no copy.
        first_token: attends to position 0.

    Raises:
        UsageError: if one head has two roles, or the induction head is not in a later layer than its partner.

    Example:
        >>> Plant(induction=((0, 1), (2, 3))).named()
        {'induction_previous': (0, 1), 'induction': (2, 3)}
    """

    previous_token: Head | None = None
    duplicate_token: Head | None = None
    induction: tuple[Head, Head] | None = None
    first_token: Head | None = None

    def __post_init__(self) -> None:
        owners: dict[Head, str] = {}
        for role, place in self.named().items():
            if place in owners:
                raise UsageError(
                    f"{Grid.label(*place)} for {owners[place]} and for {role}",
                    "one role per head",
                    "choose another head",
                )
            owners[place] = role
        if self.induction and self.induction[1][0] <= self.induction[0][0]:
            first, second = (Grid.label(*place) for place in self.induction)
            raise UsageError(
                f"induction pair {first}, {second}",
                "an induction head in a later layer than its previous-token head",
                f"move {second} to layer {self.induction[0][0] + 1} or above",
            )

    def named(self) -> dict[str, Head]:
        """The planted heads by role; the first head of the induction pair is `induction_previous`."""
        places = {item.name: getattr(self, item.name) for item in fields(self)}
        if self.induction:
            places["induction_previous"], places["induction"] = self.induction
            places = {name: places[name] for name in sorted(places, key=lambda name: name == "induction")}
        return {name: place for name, place in places.items() if place is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Role:
    # What a head's queries look for, as multiples of _SHARPNESS, and what it does with what it finds.
    back: float = 0.0  # the position one back
    here: float = 0.0  # its own position
    first: float = 0.0  # position 0
    match: str = ""  # the subspace of the keys in which the token of the query is sought, with _MATCH
    writes: str = "output"
    gain: float = _FAINT


# A match (3) beats resting (1), and what must never win (-4) loses even where it matches: a token is no copy of
# itself, and position 0, which has no previous token, copied its own.
_MATCH = 3.0
_ROLES = {
    "previous_token": _Role(back=1.0),
    "duplicate_token": _Role(match="token", here=-4.0, first=1.0),
    "first_token": _Role(first=1.0),
    "induction_previous": _Role(back=1.0, writes="previous", gain=1.0),
    "induction": _Role(match="previous", here=1.0, first=-4.0, gain=1.0),
}


@dataclass(frozen=True, slots=True)
class _Space:
    # The plan of the residual stream (where each subspace lies, how long a code is in it) and of a head's own
    # space: one slot per token, then one per position.
    vocabulary: int
    positions: int
    heads: int

    @property
    def d_head(self) -> int:
        return max(self.vocabulary + self.positions, math.ceil((3 * self.vocabulary + self.positions) / self.heads))

    @property
    def width(self) -> int:
        return self.d_head * self.heads

    @property
    def length(self) -> float:
        # Token and position together then have the length that LayerNorm would give them.
        return math.sqrt(self.width / 2)

    def part(self, name: str) -> slice:
        sizes = {"token": self.vocabulary, "previous": self.vocabulary, "output": self.vocabulary}
        sizes["position"] = self.positions
        start = sum(list(sizes.values())[: list(sizes).index(name)])
        return slice(start, start + sizes[name])

    @property
    def token_slots(self) -> slice:
        return slice(0, self.vocabulary)

    @property
    def position_slots(self) -> slice:
        return slice(self.vocabulary, self.vocabulary + self.positions)


def _codes(count: int) -> Float[Tensor, "code dimension"]:
    centred = torch.eye(count) - 1 / count
    return centred / centred[0].norm()


def planted_model(
    plant: Plant,
    *,
    grid: Grid = _GRID,
    vocabulary: int = 64,
    positions: int = 64,
    noise: float = 0.0,
    seed: int = 0,
) -> GPT2LMHeadModel:
    """A GPT-2 in which exactly the planted heads do something, and do it with attention above .99.

    It works on token ids and has no tokenizer. With an induction pair it predicts the next token wherever the
    current one occurred before with one successor; without, its logits are nearly flat.

    Args:
        plant: the heads and their places.
        grid: layers and heads of the model.
        vocabulary: how many tokens there are.
        positions: the longest prompt.
        noise: the standard deviation of the other heads' weights. 0 leaves them inert (uniform attention, no
            output). At .02, where GPT-2 itself starts, the planted heads stay sharp; at .05 the noise of four
            layers drowns them.
        seed: of the noise.

    Returns:
        The model in evaluation mode, float32. Its width is at least heads x (vocabulary + positions), so keep
        those small: the default has 4 million parameters.

    Raises:
        UsageError: if a head is outside the grid, or vocabulary or positions are below 2.

    Example:
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = planted_model(plant, grid=Grid(2, 2), vocabulary=8, positions=8)
        >>> model(torch.tensor([[5, 3, 6, 5]])).logits[0, -1].argmax().item()
        3
    """
    for place in plant.named().values():
        grid.parse(place)
    if min(vocabulary, positions) < 2:
        raise UsageError(
            f"vocabulary {vocabulary}, positions {positions}", "2 or more of each", "heads need something to tell apart"
        )
    space = _Space(vocabulary, positions, grid.heads)
    model = _blank(space, grid)
    generator = torch.Generator().manual_seed(seed)
    roles = {place: _ROLES[name] for name, place in plant.named().items()}
    with torch.no_grad():
        _write_codes(model, space)
        for place in grid:
            if place in roles:
                _write_head(model, space, place, roles[place])
            elif noise:
                _write_noise(model, space, place, noise, generator)
    return model


def _blank(space: _Space, grid: Grid) -> GPT2LMHeadModel:
    config = GPT2Config(
        vocab_size=space.vocabulary,
        n_positions=space.positions,
        n_embd=space.width,
        n_layer=grid.layers,
        n_head=grid.heads,
        n_inner=8,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    # Building a model draws its weights from the caller's random state, which is no business of ours to advance.
    with torch.random.fork_rng(devices=[]):
        model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if ".ln_" in name and name.endswith("weight") else 0.0)
    return model


def _write_codes(model: GPT2LMHeadModel, space: _Space) -> None:
    model.transformer.wte.weight[:, space.part("token")] = space.length * _codes(space.vocabulary)
    model.transformer.wpe.weight[:, space.part("position")] = space.length * _codes(space.positions)
    model.lm_head.weight[:, space.part("output")] = _LOGIT / space.length * _codes(space.vocabulary)


def _write_head(model: GPT2LMHeadModel, space: _Space, place: Head, role: _Role) -> None:
    query, key, value, output = _parts(model, space, place)
    tokens, positions = torch.eye(space.vocabulary), torch.eye(space.positions)
    to_tokens, to_positions = space.token_slots, space.position_slots
    # Undoes the attention's division by sqrt(d_head), so that scores come in units of _SHARPNESS.
    sharp = _SHARPNESS * math.sqrt(space.d_head)

    one_back = torch.diag(torch.ones(space.positions - 1), -1)
    query[space.part("position"), to_positions] = sharp / space.length * (role.back * one_back + role.here * positions)
    key[space.part("position"), to_positions] = positions / space.length
    biases = model.get_parameter(f"transformer.h.{place[0]}.attn.c_attn.bias")
    bias = biases[: space.width].view(space.heads, space.d_head)[place[1]]
    bias[to_positions] = sharp * role.first * _codes(space.positions)[0]
    if role.match:
        query[space.part("token"), to_tokens] = sharp / space.length * _MATCH * tokens
        key[space.part(role.match), to_tokens] = tokens / space.length
    value[space.part("token"), to_tokens] = tokens / space.length
    output[to_tokens, space.part(role.writes)] = role.gain * space.length * tokens


def _write_noise(model: GPT2LMHeadModel, space: _Space, place: Head, noise: float, generator: torch.Generator) -> None:
    for part in _parts(model, space, place):
        part[:] = noise * torch.randn(part.shape, generator=generator)


def _parts(model: GPT2LMHeadModel, space: _Space, place: Head) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    # Views of one head's query, key, value [width, d_head] and output [d_head, width] weights: to write to them
    # is to write to the model.
    layer, head = place
    read, write = (model.get_parameter(f"transformer.h.{layer}.attn.{name}.weight") for name in ("c_attn", "c_proj"))
    own = slice(head * space.d_head, (head + 1) * space.d_head)
    query, key, value = (weight[:, own] for weight in read.split(space.width, dim=1))
    return query, key, value, write[own]
