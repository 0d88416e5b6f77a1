"""Many multinomial logistic regressions at once: L-BFGS with the curvature of a subsample as its metric."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_DENSE = 1500
"""Above so many parameters of one fit, the metric keeps a block for each class and drops what couples them."""
_MEMORY = 8
_REFRESH = (14, 40, 80)
"""Steps at which the metric is taken anew; tried out, as the numbers below were, on the heads of a sentence encoder."""
_SAMPLE = 128
"""Examples for each input that a coupled curvature is summed over, at most: half of it takes a third more passes."""
_DAMPING = 2e-2
_TRIALS = 30

Metric = Callable[[Float[Tensor, "site fit input column"]], Float[Tensor, "site fit input column"]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """Logistic regressions that share their examples: one for each site and set of example weights.

    Attributes:
        inputs: standardised features of every site, the last row 1 for the intercept.
        codes: the class of every example.
        shares: how much every example counts in every fit; sums to 1 over the examples of a fit.
        penalty: half of it times the squared coefficient is added to the mean loss; 0 for the intercept.
        active: False where a coefficient is 0 and stays so.
        truth: what the labels alone give of the slope: each class's inputs (the second's, of two), summed by shares.
    """

    inputs: Float[Tensor, "site input example"]
    codes: Int[Tensor, " example"]
    shares: Float[Tensor, "fit example"]
    penalty: Float[Tensor, "site fit input"]
    active: Bool[Tensor, "site fit input"]
    truth: Float[Tensor, "site fit input column"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Solution:
    """Where the fits stopped, the largest slope there, and whether it is small enough."""

    point: Float[Tensor, "site fit input column"]
    slope: Float[Tensor, "site fit"]
    converged: Bool[Tensor, "site fit"]


def solve(
    problem: Problem,
    start: Float[Tensor, "site fit input column"],
    *,
    tolerance: float,
    max_iterations: int,
    metric: Metric | None = None,
    refresh: tuple[int, ...] = _REFRESH,
) -> Solution:
    """The minimum of every fit's penalised mean loss, from any start: it is strictly convex but for the intercepts.

    Directions are those of L-BFGS whose first guess of the curvature is the Hessian of a subsample of the examples
    (`curvature`), which is what makes a handful of passes enough where plain L-BFGS needs a hundred. Sources: Nocedal
    and Wright 2006, algorithm 7.4 (two loops) and 3.1 (backtracking); Roosta-Khorasani and Mahoney 2019 (subsampled
    curvature).

    Args:
        problem: what to fit.
        start: where to start.
        tolerance: the largest slope of the mean loss at which a fit counts as converged.
        max_iterations: how many steps at most.
        metric: the curvature of a similar problem, or None to take it here.
        refresh: steps at which the metric is taken anew, coupled.

    Returns:
        The solution, with `converged` False for every fit that did not reach the tolerance.
    """
    point = start * problem.active[..., None]
    loss, slope = _evaluate(problem, point)
    ends, slopes = point.clone(), slope.clone()
    fits = torch.arange(start.shape[1])
    changes: list[Tensor] = []
    bends: list[Tensor] = []
    metric = metric or curvature(problem, point[:, :1], coupled=False)
    stuck = torch.zeros_like(loss, dtype=torch.bool)
    for step in range(max_iterations):
        done = (slope.abs().amax((-1, -2)) <= tolerance) | stuck
        ends[:, fits], slopes[:, fits] = point, slope
        live = ~done.all(0)
        if not live.any():
            break
        if not live.all():
            fits, problem = fits[live], subset(problem, live)
            point, loss, slope, done, stuck = (part[:, live] for part in (point, loss, slope, done, stuck))
            changes, bends = [each[:, live] for each in changes], [each[:, live] for each in bends]
        if step in refresh:
            metric, changes, bends = curvature(problem, point[:, :1], coupled=True), [], []
            stuck = torch.zeros_like(stuck)
        direction = -_two_loops(slope, changes[-_MEMORY:], bends[-_MEMORY:], metric) * problem.active[..., None]
        moved, new_loss, new_slope, lost = _search(problem, point, direction, (loss, slope, done))
        changes.append(moved - point)
        bends.append(new_slope - slope)
        stuck = stuck | lost
        point, loss, slope = moved, new_loss, new_slope
    ends[:, fits], slopes[:, fits] = point, slope
    largest = slopes.abs().amax((-1, -2))
    return Solution(point=ends, slope=largest, converged=largest <= tolerance)


def subset(problem: Problem, fits: Bool[Tensor, " fit"]) -> Problem:
    """Some of the fits."""
    return replace(
        problem, shares=problem.shares[fits], penalty=problem.penalty[:, fits], active=problem.active[:, fits],
        truth=problem.truth[:, fits],
    )  # fmt: skip


def class_sums(
    inputs: Float[Tensor, "site input example"],
    codes: Int[Tensor, " example"],
    shares: Float[Tensor, "fit example"],
) -> Float[Tensor, "site fit input column"]:
    """The inputs of each class's examples, summed by shares; of two classes, the second's only.

    Args:
        inputs: of every site.
        codes: the class of every example, from 0 up.
        shares: how much every example counts in every fit.
    """
    classes = int(codes.max()) + 1
    member = torch.nn.functional.one_hot(codes, classes).to(inputs.dtype)[:, 1 if classes == 2 else 0 :]
    sums = inputs @ (member[:, None] * shares.T[:, :, None]).flatten(1)
    return sums.unflatten(2, (len(shares), -1)).transpose(1, 2)


def _evaluate(
    problem: Problem, point: Float[Tensor, "site fit input column"]
) -> tuple[Float[Tensor, "site fit"], Float[Tensor, "site fit input column"]]:
    # Where all fits stand at one point (they start there), its chances are worked out once.
    alike = point.shape[1] > 1 and torch.equal(point, point[:, :1].expand_as(point))
    chances = probabilities(problem.inputs, point[:, :1] if alike else point)
    if point.shape[-1] == 1:
        right = torch.where(problem.codes == 1, chances, 1 - chances)
    else:
        right = chances.gather(2, problem.codes.expand(*chances.shape[:2], 1, -1))
    logs = -right[:, :, 0].clamp(min=1e-37).log().double()
    loss = (logs * problem.shares).sum(-1)
    loss += (problem.penalty * point.square().sum(-1)).sum(-1) / 2
    shares = problem.shares[:, None]
    chances = (chances * shares if alike else chances.mul_(shares)).flatten(1, 2)
    # The last input is 1: its sum apart leaves a width that the product is quick at (32 features, not 33).
    raw = torch.cat([chances @ problem.inputs[:, :-1].transpose(1, 2), chances.sum(-1, keepdim=True)], -1)
    slope = (raw.unflatten(1, (len(shares), -1)).transpose(-1, -2) - problem.truth).double()
    return loss, (slope + problem.penalty[..., None] * point) * problem.active[..., None]


def probabilities(
    inputs: Float[Tensor, "site input example"], point: Float[Tensor, "site fit input column"]
) -> Float[Tensor, "site fit column example"]:
    """The chance of every class (of the second of two) for every example."""
    weights = point.transpose(-1, -2).flatten(1, 2).to(inputs.dtype)
    scores = (weights @ inputs).unflatten(1, (point.shape[1], point.shape[-1]))
    return scores.sigmoid_() if point.shape[-1] == 1 else torch.softmax(scores, dim=2)


def curvature(problem: Problem, point: Float[Tensor, "site one input column"], *, coupled: bool) -> Metric:
    """The inverse Hessian of the first fit at a point, on a sample of the examples: good enough to steer by.

    Args:
        problem: the fits.
        point: where, for the first fit.
        coupled: with what couples the classes, where there are 1500 parameters or fewer.

    Returns:
        The product of a slope with the inverse. Cost, coupled: one product [pair of classes, example] x [example, pair
        of inputs] and one factor [parameter, parameter] for every site; else a block [input, input] for each class.
    """
    size, columns = point.shape[-2:]
    coupled = coupled and size * columns <= _DENSE
    rows, shares = _sample(problem.codes, (_SAMPLE if coupled else 12) * size)
    inputs = problem.inputs[..., rows]
    chances = probabilities(inputs, point)[:, 0]
    ridge = torch.diag_embed(problem.penalty[:, 0] + torch.where(problem.active[:, 0], 1e-5, 1.0)).to(inputs.dtype)
    if coupled and columns > 1:
        return _coupled(inputs, chances, shares, ridge)
    # The damping keeps steps sane where a sample shows little of a rare class, in any direction of the features.
    ridge = ridge + _DAMPING * (inputs * shares) @ inputs.transpose(1, 2)
    blocks = torch.stack(
        [_factor((inputs * (chance * (1 - chance) * shares)[:, None]) @ inputs.transpose(1, 2) + ridge)
         for chance in chances.unbind(1)],
        dim=1,
    )  # fmt: skip

    def by_class(slope: Float[Tensor, "site fit input column"]) -> Float[Tensor, "site fit input column"]:
        right = slope.permute(0, 3, 2, 1).to(blocks.dtype)
        return torch.cholesky_solve(right, blocks).permute(0, 3, 2, 1).to(slope.dtype)

    return by_class


def _coupled(
    inputs: Float[Tensor, "site input example"],
    chances: Float[Tensor, "site column example"],
    shares: Float[Tensor, " example"],
    ridge: Float[Tensor, "site input input"],
) -> Metric:
    """The whole Hessian: one product of [pair of classes, example] with [example, pair of inputs] has all of it."""
    columns, size = chances.shape[1], inputs.shape[1]
    one, other = torch.triu_indices(columns, columns, 1)
    left, right = torch.triu_indices(size, size)
    weighed = chances * shares
    # Slices, not indices: these are the largest tensors here, and gathering their parts first takes ten times as long.
    classes = torch.cat([weighed[:, row : row + 1] * chances[:, row + 1 :] for row in range(columns - 1)], 1)
    products = classes @ torch.cat([inputs[:, row : row + 1] * inputs[:, row:] for row in range(size)], 1).transpose(
        1, 2
    )
    place = torch.zeros(size, size, dtype=torch.long)
    place[left, right] = place[right, left] = torch.arange(len(left))
    between = products[:, :, place]
    blocks = torch.zeros(len(inputs), columns, size, columns, size)
    blocks[:, one, :, other] = blocks[:, other, :, one] = -between.transpose(0, 1)
    # Chances sum to 1: a class's own block is what it has with the others. What all classes share has no curvature
    # but the penalty, and no slope either: some is added so that there is a factor in single precision.
    own = -blocks.sum(3)
    for column in range(columns):
        blocks[:, column, :, column] += own[:, column] + ridge
    blocks += 0.1 / columns * torch.eye(size)[:, None]
    factor = _factor(blocks.flatten(3).flatten(1, 2))

    def together(slope: Float[Tensor, "site fit input column"]) -> Float[Tensor, "site fit input column"]:
        flat = slope.permute(0, 3, 2, 1).flatten(1, 2).to(factor.dtype)
        found = torch.cholesky_solve(flat, factor).unflatten(1, (columns, size))
        return found.permute(0, 3, 2, 1).to(slope.dtype)

    return together


def _factor(curved: Float[Tensor, "*site parameter parameter"]) -> Float[Tensor, "*site parameter parameter"]:
    """Cholesky's, of a curvature that rounding may have made indefinite: more is added to it until there is one."""
    factor, failed = torch.linalg.cholesky_ex(curved)
    extra = 1e-4
    while failed.any():
        extra *= 10
        curved = curved + extra * torch.eye(curved.shape[-1]) * (failed > 0)[..., None, None]
        factor, failed = torch.linalg.cholesky_ex(curved)
    return factor


def _sample(codes: Int[Tensor, " example"], size: int) -> tuple[Int[Tensor, " row"], Float[Tensor, " row"]]:
    """Examples evenly from every class, rare classes more densely, and what each of them stands for."""
    counts = torch.bincount(codes)
    wanted = counts.double().sqrt()
    wanted = torch.minimum((wanted * size / wanted.sum()).ceil().long(), counts)
    of = torch.arange(len(counts)).repeat_interleave(wanted)
    place = torch.arange(len(of)) - (wanted.cumsum(0) - wanted)[of]
    rows = codes.argsort(stable=True)[(counts.cumsum(0) - counts)[of] + place * counts[of] // wanted[of]]
    return rows, (counts / wanted.clamp(min=1) / len(codes))[of]


def thinned(problem: Problem, size: int) -> Problem:
    """The first fit on a sample of about `size` examples: near enough to begin with.

    Args:
        problem: whose first fit sees all examples alike.
        size: how many; all where there are fewer than twice as many.
    """
    first = subset(problem, torch.arange(len(problem.shares)) == 0)
    if len(problem.codes) < 2 * size:
        return first
    rows, shares = _sample(problem.codes, size)
    inputs, codes = problem.inputs[..., rows], problem.codes[rows]
    truth = class_sums(inputs, codes, shares[None])
    return replace(first, inputs=inputs, codes=codes, shares=shares[None], truth=truth)


def _two_loops(
    slope: Float[Tensor, "site fit input column"], changes: list[Tensor], bends: list[Tensor], metric: Metric
) -> Float[Tensor, "site fit input column"]:
    """The slope times the inverse curvature of L-BFGS: its two loops as two triangular systems, for all fits at once.

    With S and Y the last changes of point and slope and R the upper triangle of S'Y: a = R^-1 S'g, r = H(g - Y a), and
    r + S b where R' b = diag(R) a - Y'r. A change along which the slope did not rise counts for nothing.
    """
    if not changes:
        return metric(slope)
    steps, turns = torch.stack(changes, 2).flatten(3), torch.stack(bends, 2).flatten(3)
    products = steps @ turns.transpose(-1, -2)
    good = products.diagonal(dim1=-2, dim2=-1) > 0
    steps, turns = steps * good[..., None], turns * good[..., None]
    upper = (products * good[..., None] * good[..., None, :]).triu() + torch.diag_embed(~good)
    flat = slope.flatten(2)[..., None]
    first = torch.linalg.solve_triangular(upper, steps @ flat, upper=True)
    rest = (flat - turns.transpose(-1, -2) @ first).view_as(slope)
    found = metric(rest).flatten(2)[..., None]
    own = (upper.diagonal(dim1=-2, dim2=-1) * good)[..., None] * first
    second = torch.linalg.solve_triangular(upper.transpose(-1, -2), own - turns @ found, upper=False)
    return (found + steps.transpose(-1, -2) @ second).view_as(slope)


def _search(
    problem: Problem,
    point: Float[Tensor, "site fit input column"],
    direction: Float[Tensor, "site fit input column"],
    state: tuple[Float[Tensor, "site fit"], Float[Tensor, "site fit input column"], Bool[Tensor, "site fit"]],
) -> tuple[
    Float[Tensor, "site fit input column"],
    Float[Tensor, "site fit"],
    Float[Tensor, "site fit input column"],
    Bool[Tensor, "site fit"],
]:
    """A step along the direction that lowers every fit's loss, and which fits found none."""
    loss, slope, done = state
    down = (direction * slope).sum((-1, -2))
    step = torch.where(done, 0.0, torch.ones_like(loss))
    moved, new_loss, new_slope = point, loss, slope
    for trial in range(_TRIALS + 1):
        moved = point + step[..., None, None] * direction
        new_loss, new_slope = _evaluate(problem, moved)
        # Losses are sums in single precision: what is below their last digits is no rise.
        failed = ~(new_loss <= loss + 1e-4 * step * down + 1e-6 * loss.abs()) & ~done & (step > 0)
        if not failed.any():
            break
        step = torch.where(failed, 0.0 if trial == _TRIALS - 1 else step / 3, step)
    return moved, new_loss, new_slope, (step == 0) & ~done
