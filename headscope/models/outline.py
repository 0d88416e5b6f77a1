"""A model's shape and tokenizer without its weights: enough to make prompts and to count what an analysis costs."""

import re
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from headscope.errors import HeadscopeError, ModelError
from headscope.grid import Grid
from headscope.models import reading, sources, tokenisation

_LAYER = re.compile(r"\.(\d+)\.")
_FUSED = ("c_attn", "query_key_value", "qkv_proj", "Wqkv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What is known of a model from its configuration: a `Model` that makes prompts and refuses what needs weights.

    Attributes:
        name: what to call it.
        grid: its layers and query heads.
        tokenizer: the tokenizer, or None.
        frame: the special tokens around every prompt.
        causal: whether it is a decoder.
        max_length: the longest prompt, in tokens.
        vocabulary: the number of token ids.
        d_model: the width of its residual stream.
        d_head: the width of one head's output.
        kv_heads: key and value heads.
        parameters: how many.
        block: parameters of one layer's matrices, on average (of all experts, where there are several).
        attention: those of them that belong to attention.
        identity: its name, width and tokenizer, as JSON.
        fused: parameters of fused query, key and value matrices, of which TransformerLens keeps a copy.
    """

    name: str
    grid: Grid
    tokenizer: Any = field(repr=False)
    frame: tokenisation.Frame = field(repr=False)
    causal: bool
    max_length: int
    vocabulary: int
    d_model: int
    d_head: int
    kv_heads: int
    parameters: int
    block: float
    attention: float
    fused: int
    identity: dict[str, Any] = field(repr=False)

    @property
    def device(self) -> torch.device:
        """PyTorch's device for tensors without values."""
        return torch.device("meta")

    def run(self, *_: Any, **__: Any) -> Any:
        """Refused, as all that needs weights.

        Raises:
            HeadscopeError: always.
        """
        fix = "load the model: headscope.load"
        raise HeadscopeError(f"a forward of {self.name!r}, of which only the configuration was read", "weights", fix)

    run_at = patterns = outputs = run

    @property
    def W_Q(self) -> Tensor:
        return self._empty(self.grid.layers, self.grid.heads, self.d_model, self.d_head)

    @property
    def W_K(self) -> Tensor:
        return self._empty(self.grid.layers, self.kv_heads, self.d_model, self.d_head)

    @property
    def W_V(self) -> Tensor:
        return self.W_K

    @property
    def W_O(self) -> Tensor:
        return self._empty(self.grid.layers, self.grid.heads, self.d_head, self.d_model)

    @property
    def W_E(self) -> Tensor:
        return self._empty(self.vocabulary, self.d_model)

    @property
    def W_U(self) -> Tensor:
        return self._empty(self.d_model, self.vocabulary)

    def _empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, device="meta")

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, as the loaded model would give them.

        Args:
            text: any.

        Raises:
            HeadscopeError: if the model has no tokenizer.
        """
        if self.tokenizer is None:
            raise HeadscopeError(f"text for {self.name!r}, which has no tokenizer", "token ids", "add a tokenizer")
        return tokenisation.encode(self.tokenizer, self.frame, text)


def outline(source: str, *, offline: bool = False) -> Outline:
    """Read a model's configuration and tokenizer, not its weights.

    Args:
        source: as for `headscope.load`, by name or folder; a folder need not hold weights.
        offline: never use the network.

    Raises:
        ModelError: if it cannot be found, or its configuration cannot be used.

    Example:
        >>> mini = outline("mini")
        >>> mini.grid.size, mini.parameters > 1e5, mini.tokenizer is None
        (96, True, False)
    """
    place = sources.locate(source, offline=offline, weights=False)
    empty, tokenizer = reading.read_empty(place), reading.read_tokenizer(place)
    config, shapes = empty.config, {name: value.shape for name, value in empty.named_parameters()}
    try:
        layers, heads = int(config.num_hidden_layers), int(config.num_attention_heads)
        width = int(config.hidden_size)
        longest = int(getattr(config, "max_position_embeddings", 0) or 2048)
    except (AttributeError, TypeError, ValueError) as problem:
        given = f"model {place.name!r}, whose config.json does not say how many layers and heads it has"
        raise ModelError(
            given, "num_hidden_layers, num_attention_heads and hidden_size", "load it instead"
        ) from problem
    causal = "MaskedLM" not in type(empty).__name__
    matrices = {name: shape.numel() for name, shape in shapes.items() if len(shape) > 1 and _LAYER.search(name)}
    attention = sum(size for name, size in matrices.items() if "attn" in name or "attention" in name)
    frame = tokenisation.frame_of(tokenizer, causal=causal)
    record = {"name": place.name, "d_model": width, "tokenizer": tokenisation.describe(tokenizer, frame)}
    return Outline(
        name=place.name, grid=Grid(layers, heads), tokenizer=tokenizer, causal=causal, max_length=longest,
        frame=frame, identity=record,
        vocabulary=int(empty.get_input_embeddings().weight.shape[0]), d_model=width,
        d_head=int(getattr(config, "head_dim", None) or width // heads),
        kv_heads=int(getattr(config, "num_key_value_heads", None) or heads),
        parameters=sum(value.numel() for value in empty.parameters()),
        block=sum(matrices.values()) / layers, attention=attention / layers,
        fused=sum(size for name, size in matrices.items() if any(part in name for part in _FUSED)),
    )  # fmt: skip
