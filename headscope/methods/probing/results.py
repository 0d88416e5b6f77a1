"""What a study of probes gives: one tidy frame, and what it was computed from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headscope.errors import UsageError
from headscope.methods.probing.fit import Fitted
from headscope.methods.probing.labels import Labels

COLUMNS = (
    *("label", "site", "layer", "head", "accuracy", "low", "high", "balanced"),
    *("control", "selectivity", "selectivity_low", "selectivity_high"),
    *("majority", "embedding", "previous", "untrained"),
    *("baseline", "difference", "difference_low", "difference_high", "p", "q", "decodable"),
    *("bits", "compression", "n", "groups", "classes", "converged", "reason"),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Directions:
    """What the probes of one set of labels read in every head's output.

    Attributes:
        label: the set of labels.
        classes: their names.
        basis: an orthonormal basis of the directions in which a head's classes differ, largest first; zero where there
            are fewer.
        weights, bias: the probe itself; None for pairs, whose probes read more than one place.
        mean: of z over the instances.
        class_means: of z over the instances of each class; None for pairs.
    """

    label: str
    classes: tuple[str, ...]
    basis: Float[Tensor, "layer head feature direction"]
    mean: Float[Tensor, "layer head feature"]
    weights: Float[Tensor, "layer head feature class"] | None = None
    bias: Float[Tensor, "layer head class"] | None = None
    class_means: Float[Tensor, "layer head class feature"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """The instances of one set of labels, one by one: what intervals and further studies are made from.

    Attributes:
        labels: the set, as it was probed.
        fitted: kind of site -> the probes, with what they got right (NaN for instances of dropped classes).
        best: what the best baseline got right.
        baseline: its name.
        groups: of the instances.
    """

    labels: Labels
    fitted: Mapping[str, Fitted]
    best: Float[Tensor, " instance"]
    baseline: str

    @property
    def groups(self) -> Int[Tensor, " instance"]:
        """Of the instances."""
        return self.labels.groups

    def over(self, site: str) -> Float[Tensor, "instance site"]:
        """What each site got right, less what the best baseline did."""
        return self.fitted[site].correct - self.best[:, None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probes:
    """A study of probes.

    Attributes:
        frame: one row for each label, site, layer and head (-1 for the residual stream, whose layer l is what enters
            block l and whose last one leaves the last block):

            - accuracy on held-out groups, low, high (95 %, group bootstrap), balanced (mean over classes);
            - control (accuracy on the control task), selectivity (accuracy less control, on instances that have both)
              and its interval;
            - majority, embedding, previous (accuracies of the baselines), untrained (of the same site of a model with
              random weights; NaN where that was not asked for);
            - baseline (name of the best of the first three), difference (accuracy less its) with its interval, p
              (two-sided sign-flip test by groups), q (Benjamini-Hochberg over all rows), decodable (q <= .05, above the
              baseline, and converged);
            - bits (per label, online code), compression (times shorter than the uniform code);
            - n (instances), groups, classes (how many), converged, reason (why something is missing or not to be
              trusted; empty otherwise).
        dropped: label -> class -> (instances, groups), for classes in fewer groups than folds.
        skipped: label -> why it could not be probed at all.
        found: label -> the instances.
        directions: label -> what its probes read in every head's z, where z was probed.
        kind: of probe.
        seed: of draws, folds and resamples.
        notes: what readers of the numbers must know.
        complete: False where Ctrl-C came before all sets of labels were probed.
    """

    frame: pd.DataFrame
    dropped: Mapping[str, Mapping[str, tuple[int, int]]]
    skipped: Mapping[str, str]
    found: Mapping[str, Found] = field(repr=False)
    directions: Mapping[str, Directions] = field(repr=False)
    kind: str
    seed: int
    notes: tuple[str, ...] = ()
    complete: bool = True

    def by_example(self, label: str, site: str = "z") -> Float[Tensor, "example layer head"]:
        """Accuracy over the best baseline prompt by prompt, in the form in which every method scores heads.

        Args:
            label: a set of labels.
            site: a kind of site of heads, not the residual stream.

        Returns:
            The mean over a prompt's instances; NaN for a prompt without any.

        Raises:
            UsageError: if there is no such label or site.
        """
        if label not in self.found or site not in self.found[label].fitted or site == "resid":
            expected = f"labels: {', '.join(self.found) or 'none'}; sites of heads that were probed"
            raise UsageError(f"label {label!r} at site {site!r}", expected, "name what was probed")
        found = self.found[label]
        layers = self.frame.loc[(self.frame["label"] == label) & (self.frame["site"] == site), "layer"]
        difference = found.over(site)
        used = (~difference.isnan().any(1)).nonzero()[:, 0]
        examples = len(found.labels.prompts)
        total = torch.zeros(examples, difference.shape[1], dtype=torch.double)
        total.index_add_(0, found.labels.example[used], difference[used])
        count = torch.bincount(found.labels.example[used], minlength=examples)[:, None]
        return torch.where(count > 0, total / count, torch.nan).unflatten(1, (int(layers.max()) + 1, -1))


def directions(
    fitted: Fitted, features: Float[Tensor, "span site feature"], labels: Labels, ends: Int[Tensor, "instance end"],
    *, layers: int,
) -> Directions:  # fmt: skip
    """What probes read in every head's z.

    The directions are those of the probe's weights less their mean over classes (adding the same to all classes changes
    no prediction). A probe of a pair has weights for each end and for their product: the directions are those of the
    ends, all together.

    Args:
        fitted: probes of z.
        features: z of every span.
        labels: that were probed.
        ends: the span of each end of each instance.
        layers: of the model.
    """
    width = features.shape[-1]
    weights = fitted.weights - fitted.weights.mean(-1, keepdim=True)
    parts = [weights[:, :width], weights[:, width : 2 * width]] if labels.paired else [weights]
    left, sizes, _ = torch.linalg.svd(torch.cat(parts, -1), full_matrices=False)
    left = left * (sizes > 1e-6 * sizes[:, :1])[:, None]
    used = (fitted.codes >= 0).nonzero()[:, 0]
    seen = features[ends[used].flatten()].double()
    shape = (layers, -1)
    kept = min(width, len(parts) * (len(fitted.classes) - 1))
    common = {
        "label": labels.name, "classes": fitted.classes,
        "basis": left[..., :kept].unflatten(0, shape).contiguous(), "mean": seen.mean(0).unflatten(0, shape),
    }  # fmt: skip
    if labels.paired:
        return Directions(**common)
    codes = fitted.codes[used]
    means = torch.stack([seen[codes == code].mean(0) for code in range(len(fitted.classes))], 1)
    return Directions(
        **common, weights=fitted.weights.unflatten(0, shape).contiguous(),
        bias=fitted.bias.unflatten(0, shape).contiguous(), class_means=means.unflatten(0, shape),
    )  # fmt: skip
