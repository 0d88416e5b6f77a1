"""Logistic regression on all sites together, with an L2 penalty and a flag for each fit that did not converge."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headscope.methods.probing.newton import Problem, class_sums, curvature, solve, subset, thinned
from headscope.methods.probing.records import Linear

_CHUNK = 600_000
"""Scores held at once: a site or two at a time, so that they stay in the cache and finished fits can be left out."""

_ROUGH = 4e-3
_ROUGH_STEPS = 20
"""How far the first fit goes alone, before all of them go on from there with its curvature."""
_THIN = 64
"""Examples for each input with which the first fit begins."""


def fit_logistic(
    features: Float[Tensor, "example site feature"],
    codes: Int[Tensor, " example"],
    train: Bool[Tensor, "fit example"],
    *,
    penalty: float = 1.0,
    tolerance: float = 1e-4,
    max_iterations: int = 200,
) -> Linear:
    """Multinomial logistic regressions of one set of labels on every site's features, for several training parts.

    What is minimised is scikit-learn's objective: the summed cross-entropy plus `penalty` / 2 times the squared
    coefficients of features that are standardised on the training part (`LogisticRegression(C=1 / penalty)` after a
    `StandardScaler`); the intercept is free; two classes have one column. The fit of the first training part is where
    the others start: name the whole first. The minimum is unique, so that the start changes only how soon a fit is
    there.

    Args:
        features: of every example and site.
        codes: classes from 0 up; each must be in every training part.
        train: which examples each fit sees.
        penalty: of the squared coefficients.
        tolerance: the largest slope of the mean loss of a converged fit; 1e-4 as scikit-learn has it.
        max_iterations: steps at most.

    Returns:
        The fits. Cost: about twenty passes over the examples for the first training part and seven for each other, a
        pass being two products [class, feature] x [feature, example] for each site.

    Example:
        >>> x = torch.linspace(-2, 2, 40)[:, None, None]
        >>> found = fit_logistic(x, (x[:, 0, 0] > 0.5).long(), torch.ones(1, 40, dtype=torch.bool))
        >>> found.weights.shape, bool(found.converged.all()), bool(found.weights[0, 0, 0, 1] > 0)
        (torch.Size([1, 1, 1, 2]), True, True)
    """
    classes = int(codes.max()) + 1
    size = max(1, _CHUNK // (len(codes) * classes * len(train)))
    parts = [
        _fit_sites(features[:, rows], codes, train, penalty=penalty, tolerance=tolerance, max_iterations=max_iterations)
        for rows in torch.arange(features.shape[1]).split(size)
    ]
    return Linear(
        weights=torch.cat([part.weights for part in parts]),
        bias=torch.cat([part.bias for part in parts]),
        penalty=torch.full((features.shape[1], len(train)), penalty, dtype=torch.double),
        converged=torch.cat([part.converged for part in parts]),
        constant=torch.cat([part.constant for part in parts]),
    )


def _fit_sites(
    features: Float[Tensor, "example site feature"],
    codes: Int[Tensor, " example"],
    train: Bool[Tensor, "fit example"],
    *,
    penalty: float,
    tolerance: float,
    max_iterations: int,
) -> Linear:
    classes = int(codes.max()) + 1
    inputs, mean, scale = standardise(features)
    counts = train.sum(1)
    shares = train / counts[:, None]
    variance = _variance(inputs[:, :-1], shares.double())
    # Next to its size over all examples: below single precision it is noise, not a feature.
    active = torch.nn.functional.pad(variance > 1e-10, (0, 1), value=True)
    strength = torch.nn.functional.pad(variance * penalty / counts[:, None], (0, 1))

    problem = Problem(
        inputs=inputs, codes=codes, shares=shares.float(), penalty=strength, active=active,
        truth=class_sums(inputs, codes, shares.float()),
    )  # fmt: skip
    first = subset(problem, torch.arange(len(train)) == 0)
    start = intercepts(shares[:1] @ torch.nn.functional.one_hot(codes, classes).float(), inputs)
    for part in (thinned(problem, _THIN * inputs.shape[1]), first):
        start = solve(part, start, tolerance=_ROUGH, max_iterations=_ROUGH_STEPS, refresh=()).point
    found = solve(
        problem, start.expand(-1, len(train), -1, -1), tolerance=tolerance, max_iterations=max_iterations,
        metric=curvature(first, start, coupled=True),
    )  # fmt: skip
    weights, bias = _unscaled(found.point, mean, scale)
    constant = (~active[..., :-1]).sum(-1)
    return Linear(
        weights=weights,
        bias=bias,
        penalty=torch.full_like(strength[..., 0], penalty),
        converged=found.converged,
        constant=constant,
    )


def _variance(
    inputs: Float[Tensor, "site feature example"], shares: Float[Tensor, "fit example"]
) -> Float[Tensor, "site fit feature"]:
    wide = inputs.double()
    mean = torch.einsum("sde,fe->sfd", wide, shares)
    return (torch.einsum("sde,fe->sfd", wide.square(), shares) - mean.square()).clamp(min=0)


def standardise(
    features: Float[Tensor, "example site feature"],
) -> tuple[Float[Tensor, "site input example"], Float[Tensor, "site feature"], Float[Tensor, "site feature"]]:
    """Features over all examples with mean 0 and deviation 1, and a row of ones; the means and deviations.

    A matter of conditioning only: the penalty is what makes a fit depend on a scale, and it has its own.
    """
    wide = features.double()
    mean = wide.mean(0)
    scale = wide.std(0, correction=0)
    scale = torch.where(scale > 1e-6 * mean.abs(), scale, torch.inf)
    inputs = ((wide - mean) / scale).permute(1, 2, 0).float()
    ones = torch.ones(len(inputs), 1, len(features))
    return torch.cat([inputs, ones], 1), mean, scale


def intercepts(
    frequency: Float[Tensor, "one class"], inputs: Float[Tensor, "site input example"]
) -> Float[Tensor, "site one input column"]:
    """The fit that knows the classes' frequencies only."""
    logs = frequency[0].double().log()
    free = (logs[1:] - logs[:1]) if len(logs) == 2 else logs
    start = torch.zeros(len(inputs), 1, inputs.shape[1], len(free), dtype=torch.double)
    start[:, :, -1] = free
    return start


def _unscaled(
    point: Float[Tensor, "site fit input column"],
    mean: Float[Tensor, "site feature"],
    scale: Float[Tensor, "site feature"],
) -> tuple[Float[Tensor, "site fit feature class"], Float[Tensor, "site fit class"]]:
    """Weights and intercepts in the features' own units, one column for each class."""
    # What classes share changes no probability and costs a penalty: at the minimum there is none of it.
    point = torch.cat([-point, point], -1) / 2 if point.shape[-1] == 1 else point - point.mean(-1, keepdim=True)
    weights = point[:, :, :-1] / scale[:, None, :, None]
    return weights, point[:, :, -1] - (mean[:, None, :, None] * weights).sum(2)
