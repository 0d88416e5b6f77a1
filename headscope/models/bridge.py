"""A Model on top of a TransformerBridge: read every head, edit every head, leave nothing behind."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from headscope.errors import ModelError, UsageError
from headscope.grid import Grid
from headscope.models import placing, tokenisation
from headscope.models.cutting import Cut, cut, state_of, whole
from headscope.models.program import Program
from headscope.models.protocol import Edit, Model, PreTrainedTokenizerBase

PATTERN_BUDGET = 2**28
"""Bytes of attention patterns that `patterns` holds at once, if one layer is not more."""

Hook = Callable[[Tensor], Tensor | None]


@dataclass(frozen=True, eq=False, kw_only=True)
class BridgeModel:
    """A `Model` on a TransformerBridge; see `headscope.models.Model` for what each part means.

    Attributes:
        name: what to call it.
        grid: its layers and query heads.
        tokenizer: the tokenizer, or None.
        frame: the special tokens around every prompt.
        identity: what it is, as JSON.
        causal: whether it is a decoder.
        max_length: the longest prompt, in tokens.
        vocabulary: the number of token ids.
        d_head: the width of one head's output.
        bridge: the TransformerBridge, for work below this protocol.
        parts: what `cut` found, and of which weights.

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from headscope.models import load
        >>> plain = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=4, n_embd=16, vocab_size=50, n_positions=32))
        >>> model, tokens = load(plain, device="cpu"), torch.tensor([[1, 2, 3]])
        >>> z = model.outputs(tokens)
        >>> z.shape, [(layer, pattern.shape) for layer, pattern in model.patterns(tokens)][1]
        (torch.Size([2, 1, 3, 4, 4]), (1, torch.Size([1, 4, 3, 3])))
        >>> only_head_2 = torch.tensor([[False, False, True, False]])
        >>> knocked_out = Edit(layer=1, heads=only_head_2, values=torch.zeros_like(z[1]))
        >>> at = torch.tensor([2])
        >>> bool((model.run_at(tokens, None, at, edits=[knocked_out]) != model.run_at(tokens, None, at)).any())
        True
    """

    name: str
    grid: Grid
    tokenizer: PreTrainedTokenizerBase | None
    frame: tokenisation.Frame
    identity: dict[str, Any] = field(repr=False)
    causal: bool
    max_length: int
    vocabulary: int
    d_head: int
    bridge: Any = field(repr=False)
    parts: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def device(self) -> torch.device:
        return placing.home(self.bridge.original_model)

    def run(
        self,
        tokens: Int[Tensor, "example position"],
        mask: Bool[Tensor, "example position"] | None = None,
        *,
        edits: Sequence[Edit] = (),
    ) -> Float[Tensor, "example position vocabulary"]:
        """The logits at every position, under `edits`: one forward pass.

        Args:
            tokens: right-padded token ids.
            mask: True where a token is real; None means everywhere.
            edits: what replaces which heads' z; of two edits of one head the later wins.

        Returns:
            Logits in float32; those of padding mean nothing.

        Raises:
            UsageError: if ids, lengths or edits do not fit the model.
        """
        with self._hooked(self._edit_hooks(edits, tokens)):
            return self._forward(tokens, mask)

    def run_at(
        self,
        tokens: Int[Tensor, "example position"],
        mask: Bool[Tensor, "example position"] | None,
        at: Int[Tensor, " example"],
        *,
        edits: Sequence[Edit] = (),
    ) -> Float[Tensor, "example vocabulary"]:
        """The logits at position `at` of each example; the unembedding runs only there.

        Args:
            tokens: right-padded token ids.
            mask: True where a token is real; None means everywhere.
            at: the position to read, one per example.
            edits: as for `run`.

        Returns:
            Logits in float32.

        Raises:
            UsageError: if ids, lengths, positions or edits do not fit the model.
        """
        if len(at) and not (int(at.min()) >= 0 and int(at.max()) < tokens.shape[1]):
            given = f"positions {int(at.min())} to {int(at.max())} in prompts of {tokens.shape[1]} tokens"
            raise UsageError(given, f"positions from 0 to {tokens.shape[1] - 1}", "read at a real token")
        with self._hooked([*self._edit_hooks(edits, tokens), self._gather(at)]):
            return self._forward(tokens, mask)[:, 0]

    def patterns(
        self, tokens: Int[Tensor, "example position"], mask: Bool[Tensor, "example position"] | None = None
    ) -> Iterator[tuple[int, Float[Tensor, "example head query key"]]]:
        """Each layer with its attention patterns (float32), in order.

        Long prompts cost several forward passes, so that no more than `PATTERN_BUDGET` bytes are held at once.

        Args:
            tokens: right-padded token ids.
            mask: True where a token is real; None means everywhere.

        Raises:
            UsageError: if ids or lengths do not fit the model.
        """
        one_layer = 4 * self.grid.heads * tokens.shape[0] * tokens.shape[1] ** 2
        step = max(1, PATTERN_BUDGET // max(1, one_layer))
        for first in range(0, self.grid.layers, step):
            held: dict[int, Tensor] = {}
            layers = range(first, min(first + step, self.grid.layers))
            hooks = [(self._point(layer, "hook_pattern"), _keep(held, layer)) for layer in layers]
            with self._hooked([*hooks, self._gather(torch.zeros(len(tokens), dtype=torch.long))]):
                self._forward(tokens, mask)
            for layer in layers:
                yield layer, held.pop(layer).float().to(self.device)

    def outputs(
        self, tokens: Int[Tensor, "example position"], mask: Bool[Tensor, "example position"] | None = None
    ) -> Float[Tensor, "layer example position head d_head"]:
        """The output z of every head before W_O, in the weights' type: one forward pass, nothing else kept.

        Args:
            tokens: right-padded token ids.
            mask: True where a token is real; None means everywhere.

        Raises:
            UsageError: if ids or lengths do not fit the model.
        """
        held: dict[int, Tensor] = {}
        hooks = [(self._point(layer, "hook_z"), _keep(held, layer)) for layer in range(self.grid.layers)]
        with self._hooked([*hooks, self._gather(torch.zeros(len(tokens), dtype=torch.long))]):
            self._forward(tokens, mask)
        device = self.device
        layers = [held.pop(layer).to(device) for layer in range(self.grid.layers)]
        return torch.stack(layers).unflatten(-1, (self.grid.heads, self.d_head))

    def attention_outputs(
        self, tokens: Int[Tensor, "example position"], *, edits: Sequence[Edit] = ()
    ) -> Float[Tensor, "layer example position d_model"]:
        """What the attention of each layer hands on, after W_O and its bias, before any norm: for the self-check.

        Args:
            tokens: token ids without padding.
            edits: as for `run`.
        """
        held: dict[int, Tensor] = {}
        points = [self.bridge.blocks[layer].attn.o.hook_out for layer in range(self.grid.layers)]
        hooks = [(point, _keep(held, layer)) for layer, point in enumerate(points)]
        with self._hooked([*self._edit_hooks(edits, tokens), *hooks]):
            self._forward(tokens, None)
        device = self.device
        return torch.stack([held[layer].to(device) for layer in range(self.grid.layers)])

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, with the special tokens that `identity["tokenizer"]` records.

        Args:
            text: any text; one that already starts with the special tokens does not get them twice.

        Raises:
            ModelError: if the model has no tokenizer, or one that does not fit its vocabulary.
        """
        if self.tokenizer is None:
            given, expected = f"text for model {self.name!r}, which has no tokenizer", "token ids"
            raise ModelError(given, expected, "give token ids, or load the model with tokenizer=...")
        ids = tokenisation.encode(self.tokenizer, self.frame, text)
        if max(ids, default=0) >= self.vocabulary:
            given = f"a tokenizer that writes token {max(ids)} for model {self.name!r}"
            raise ModelError(given, f"token ids below {self.vocabulary}", "load the model with its own tokenizer")
        return ids

    @property
    def cut(self) -> Cut:
        """The model's parts, for runs that start in the middle; cut and checked against a whole forward.

        They are kept until the bridge's weights or hooks change.
        """
        state = state_of(self.bridge)
        if self.parts.get("state") != state:
            tolerance = max(1e-4, 16 * torch.finfo(self.W_E.dtype).eps)
            found = cut(self.bridge, check=self._distance, tolerance=tolerance)
            self.parts.update(cut=found, state=state)
        return self.parts["cut"]

    def _distance(self, program: Program) -> float:
        """The largest difference between a program's logits and the model's own, over their scale."""
        width = min(12, self.max_length)
        tokens = torch.arange(2 * width).reshape(2, width) * 7 % self.vocabulary
        mask = torch.arange(width) < torch.tensor([[width], [width - width // 3]])
        mine, own = whole(program, tokens.to(self.device), mask.to(self.device)), self.run(tokens, mask)
        return float((mine - own)[mask].abs().max()) / max(1e-3, float(own[mask].abs().max()))

    @property
    def W_Q(self) -> Float[Tensor, "layer head d_model d_head"]:
        """Query weights, stacked anew at each call."""
        return self._stacked("W_Q")

    @property
    def W_K(self) -> Float[Tensor, "layer kv_head d_model d_head"]:
        """Key weights, one per key-value head, stacked anew at each call."""
        return self._stacked("W_K")

    @property
    def W_V(self) -> Float[Tensor, "layer kv_head d_model d_head"]:
        """Value weights, one per key-value head, stacked anew at each call."""
        return self._stacked("W_V")

    @property
    def W_O(self) -> Float[Tensor, "layer head d_head d_model"]:
        """Output weights, stacked anew at each call."""
        return self._stacked("W_O")

    @property
    def b_O(self) -> Float[Tensor, "layer d_model"]:
        """Output biases; zero where the architecture has none."""
        device, weights = self.device, self.W_O
        zero = weights.new_zeros(weights.shape[-1])
        with placing.present(*(block.attn for block in self.bridge.blocks)):
            biases = [getattr(block.attn, "b_O", None) for block in self.bridge.blocks]
            return torch.stack([zero if bias is None else bias.detach().to(device) for bias in biases])

    @property
    def W_E(self) -> Float[Tensor, "vocabulary d_model"]:
        """The token embedding."""
        with placing.present(self.bridge.embed):
            return self.bridge.W_E.detach().to(self.device)

    @property
    def W_U(self) -> Float[Tensor, "d_model vocabulary"]:
        """The unembedding."""
        with placing.present(self.bridge.unembed):
            return self.bridge.W_U.detach().to(self.device)

    def _stacked(self, name: str) -> Tensor:
        with placing.present(*(block.attn for block in self.bridge.blocks)):
            return getattr(self.bridge, name).detach().to(self.device)

    def _forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        if tokens.shape[1] > self.max_length:
            given = f"prompts of {tokens.shape[1]} tokens for model {self.name!r}"
            raise UsageError(given, f"at most {self.max_length} tokens", "shorten the prompts or pick another model")
        low, high = (int(tokens.min()), int(tokens.max())) if tokens.numel() else (0, 0)
        if low < 0 or high >= self.vocabulary:
            given = f"token ids from {low} to {high} for model {self.name!r}"
            raise UsageError(given, f"ids from 0 to {self.vocabulary - 1}", "tokenise with the model's own tokenizer")
        real = torch.ones_like(tokens) if mask is None else mask.long()
        # Decoders would otherwise build a key-value cache that nobody reads.
        options = {"use_cache": False} if self.causal else {}
        device = self.device
        with torch.no_grad():
            logits = self.bridge(tokens.to(device), attention_mask=real.to(device), **options)
        return logits.float().to(device)

    def _point(self, layer: int, name: str) -> nn.Module:
        return getattr(self.bridge.blocks[layer].attn, name)

    def _gather(self, at: Tensor) -> tuple[nn.Module, Hook]:
        def hook(residual: Tensor) -> Tensor:
            return residual[torch.arange(len(at), device=residual.device), at.to(residual.device)][:, None]

        return self.bridge.unembed.hook_in, hook

    def _edit_hooks(self, edits: Sequence[Edit], tokens: Tensor) -> list[tuple[nn.Module, Hook]]:
        hooks = []
        for edit in edits:
            heads, values = (*tokens.shape[:1], self.grid.heads), (*tokens.shape, self.grid.heads, self.d_head)
            if not 0 <= edit.layer < self.grid.layers:
                given = f"an edit of layer {edit.layer}"
                raise UsageError(given, f"layers 0-{self.grid.layers - 1}", "layers are counted from 0")
            if tuple(edit.heads.shape) != heads or tuple(edit.values.shape) != values:
                given = f"an edit with heads {tuple(edit.heads.shape)} and values {tuple(edit.values.shape)}"
                raise UsageError(given, f"heads {heads} and values {values}", "shape the edit like the tokens")
            hooks.append((self._point(edit.layer, "hook_z"), self._replace(edit)))
        return hooks

    def _replace(self, edit: Edit) -> Hook:
        def hook(z: Tensor) -> Tensor:
            chosen = edit.heads.to(z.device)[:, None, :, None]
            return torch.where(chosen, edit.values.to(z), z.reshape(edit.values.shape)).reshape(z.shape)

        return hook

    @contextmanager
    def _hooked(self, hooks: Sequence[tuple[nn.Module, Hook]]) -> Iterator[None]:
        # Plain torch hooks: TransformerLens's run_with_hooks rebuilds its whole table of hooks at every call.
        with ExitStack() as stack:
            for point, hook in hooks:
                handle = point.register_forward_hook(lambda _module, _inputs, output, hook=hook: hook(output))
                stack.callback(handle.remove)
            yield


# Where shapes and types are checked, as in the tests, each call asks whether this is a Model: by its class, and not
# by reading weights off every property.
cast(Any, Model).register(BridgeModel)


def _keep(held: dict[int, Tensor], layer: int) -> Hook:
    def hook(value: Tensor) -> None:
        held[layer] = value.detach()

    return hook


def model_of(bridge: Any, *, name: str, tokenizer: Any, identity: dict[str, Any]) -> BridgeModel:
    """A `Model` on a bridge.

    Args:
        bridge: a TransformerBridge in evaluation mode.
        name: what to call it.
        tokenizer: a transformers tokenizer, or None.
        identity: the record to complete and keep.

    Raises:
        ModelError: if some layer has no attention heads that can be read and edited.
    """
    cfg = bridge.cfg
    missing = [i for i, block in enumerate(bridge.blocks) if not hasattr(getattr(block, "attn", None), "hook_z")]
    if missing:
        given = f"model {name!r}, whose layers {missing} have no attention heads"
        raise ModelError(given, "a transformer with attention in every layer", "pick another model")
    causal = getattr(cfg, "attention_dir", "causal") == "causal"
    return BridgeModel(
        name=name,
        grid=Grid(layers=len(bridge.blocks), heads=int(cfg.n_heads)),
        tokenizer=tokenizer,
        frame=tokenisation.frame_of(tokenizer, causal=causal),
        identity=identity,
        causal=causal,
        max_length=int(cfg.n_ctx),
        vocabulary=int(bridge.W_E.shape[0]),
        d_head=int(cfg.d_head),
        bridge=bridge,
    )
