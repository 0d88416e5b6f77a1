"""What the rest of headscope sees of a model: a small protocol, and edits of head outputs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import Protocol, runtime_checkable

from headscope.grid import Grid

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
else:
    # Importing transformers here would make every import of headscope.models pay for it.
    PreTrainedTokenizerBase = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """These heads' outputs z (before W_O) are replaced by these values, at every position.

    Attributes:
        layer: the layer, from 0.
        heads: True for the heads of each example that are replaced.
        values: what they are replaced by; entries of other heads are not read.

    Example:
        >>> edit = Edit(layer=0, heads=torch.tensor([[True, False]]), values=torch.zeros(1, 3, 2, 4))
        >>> edit.layer, tuple(edit.values.shape)
        (0, (1, 3, 2, 4))
    """

    layer: int
    heads: Bool[Tensor, "example head"]
    values: Float[Tensor, "example position head d_head"]


@runtime_checkable
class Model(Protocol):
    """A transformer whose heads can be read and edited; `headscope.models.load` makes one.

    Token ids are right-padded; `mask` is True where a token is real, and None means that all are. Tensors come back on
    the model's device, without gradients; logits and patterns are float32 whatever the weights' type. No call leaves a
    hook or a changed weight behind.

    Attributes:
        name: what to call it.
        grid: its layers and (query) heads.
        tokenizer: None for a model that works on token ids only.
        identity: where it came from and what it is, as JSON.
        causal: whether a position sees only itself and those before it.
        max_length: the longest prompt, in tokens.
        vocabulary: the number of token ids.
        device: where it runs.
        d_head: the width of one head's output.
    """

    @property
    def name(self) -> str: ...
    @property
    def grid(self) -> Grid: ...
    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | None: ...
    @property
    def identity(self) -> dict[str, Any]: ...
    @property
    def causal(self) -> bool: ...
    @property
    def max_length(self) -> int: ...
    @property
    def vocabulary(self) -> int: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def d_head(self) -> int: ...

    def run(
        self,
        tokens: Int[Tensor, "example position"],
        mask: Bool[Tensor, "example position"] | None = None,
        *,
        edits: Sequence[Edit] = (),
    ) -> Float[Tensor, "example position vocabulary"]:
        """The logits at every position, under `edits`."""
        ...

    def run_at(
        self,
        tokens: Int[Tensor, "example position"],
        mask: Bool[Tensor, "example position"] | None,
        at: Int[Tensor, " example"],
        *,
        edits: Sequence[Edit] = (),
    ) -> Float[Tensor, "example vocabulary"]:
        """The logits at one position of each example; the unembedding runs only there."""
        ...

    def patterns(
        self, tokens: Int[Tensor, "example position"], mask: Bool[Tensor, "example position"] | None = None
    ) -> Iterator[tuple[int, Float[Tensor, "example head query key"]]]:
        """Each layer with its attention patterns, in order."""
        ...

    def outputs(
        self, tokens: Int[Tensor, "example position"], mask: Bool[Tensor, "example position"] | None = None
    ) -> Float[Tensor, "layer example position head d_head"]:
        """The output z of every head, before W_O."""
        ...

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, with the special tokens that `identity["tokenizer"]` records."""
        ...

    @property
    def W_Q(self) -> Float[Tensor, "layer head d_model d_head"]: ...
    @property
    def W_K(self) -> Float[Tensor, "layer kv_head d_model d_head"]: ...
    @property
    def W_V(self) -> Float[Tensor, "layer kv_head d_model d_head"]: ...
    @property
    def W_O(self) -> Float[Tensor, "layer head d_head d_model"]: ...
    @property
    def W_E(self) -> Float[Tensor, "vocabulary d_model"]: ...
    @property
    def W_U(self) -> Float[Tensor, "d_model vocabulary"]: ...
