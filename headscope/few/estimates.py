"""What a few exact values and a cheap approximation of all say of a mean over a finite population of examples."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import stdtrit

OWN = 3
"""How many examples of its own, beside the drawn ones, an arm's slope is worth of the slope that all arms share."""

BORROWED = 1
"""How many degrees of freedom an arm's variance is worth of the mean variance of all arms."""


class Screen(NamedTuple):
    """An approximation of every cell, and what it says of each arm over all examples.

    Attributes:
        guess: of every drawn example and arm, in the order of drawing.
        mean: of each arm over all examples.
        spread: its variance over all examples.
        slope: how far exact values move with a unit of the approximation, in the middle of the arms.
    """

    guess: Float[np.ndarray, "example arm"]
    mean: Float[np.ndarray, " arm"]
    spread: Float[np.ndarray, " arm"]
    slope: float


class Fit(NamedTuple):
    """Each arm's mean over all examples, as estimated from those drawn.

    Attributes:
        estimate: of the mean.
        variance: of what the approximation leaves unexplained of an exact value.
        freedom: its degrees of freedom.
        stretch: the estimate's variance, in units of `variance`.
    """

    estimate: Float[np.ndarray, " arm"]
    variance: Float[np.ndarray, " arm"]
    freedom: Float[np.ndarray, " arm"]
    stretch: Float[np.ndarray, " arm"]


def screen(guess: Float[np.ndarray, "example arm"], exact: Float[np.ndarray, "drawn arm"]) -> Screen:
    """Take the shared slope from the examples that all arms have been evaluated on.

    The median over the arms, so that arms for which the approximation fails do not spoil it for the others; a guess
    with the wrong sign or scale is turned round or scaled by it, and one that is only noise gets a slope near 0.

    Args:
        guess: of every example and arm, in the order of drawing; zeros stand for no guess at all.
        exact: values of the first examples in that order.
    """
    first = guess[: len(exact)]
    deviation = first - first.mean(0)
    squares = (deviation**2).sum(0)
    varies = squares > 0
    slopes = (deviation * exact).sum(0)[varies] / squares[varies]
    return Screen(guess, guess.mean(0), guess.var(0), float(np.median(slopes)) if varies.any() else 0.0)


def fit(exact: Float[np.ndarray, "drawn arm"], screen: Screen, arms: Int[np.ndarray, " arm"]) -> Fit:
    """Estimate means over all examples from the first few drawn: a regression estimator with a shrunken slope.

    mean(exact, drawn) + b (mean(guess, all) - mean(guess, drawn)), with the slope b by least squares, pulled towards
    the slope that all arms share by `OWN` examples' worth of it (a ridge penalty): b = 0 is the plain mean, b = 1 the
    difference estimator. Its variance is that of the residuals over the number drawn, less the share of the population
    that has been drawn, and more for a slope that is itself estimated (Cochran 1977, section 2.6 and chapter 7;
    Särndal, Swensson and Wretman 1992, chapter 6). With all examples drawn it is the exact mean, whatever the guess.

    Args:
        exact: the exact values of the first examples in the order of drawing.
        screen: the approximation.
        arms: which arms they are.
    """
    drawn, population = len(exact), len(screen.guess)
    guess, spread = screen.guess[:drawn, arms], screen.spread[arms]
    deviation, gap = guess - guess.mean(0), screen.mean[arms] - guess.mean(0)
    squares = (deviation**2).sum(0)
    weight = squares + OWN * spread
    weight = np.where(weight > 0, weight, 1.0)
    slope = ((deviation * exact).sum(0) + OWN * spread * screen.slope) / weight
    freedom = drawn - 1 - squares / weight
    residual = exact - exact.mean(0) - slope * deviation
    variance = (residual**2).sum(0) / np.maximum(freedom, np.finfo(float).tiny)
    stretch = (1 - drawn / population) / drawn + gap**2 * squares / weight**2
    return Fit(exact.mean(0) + slope * gap, variance, freedom, stretch)


def half_width(found: Fit, typical: float, risk: float) -> Float[np.ndarray, " arm"]:
    """How far the estimate may lie from the mean over all examples: Student's interval, or a wider one.

    An arm whose first few values happen to lie close together would get an interval that is far too narrow. So it is
    never narrower than one with a variance that is moderated by the other arms' (Smyth 2004, with `BORROWED` prior
    degrees of freedom and the mean variance of all arms as the prior).

    Args:
        found: the estimates.
        typical: the mean variance of all arms.
        risk: the probability of an error in one direction.

    Returns:
        Half the width; infinite where nothing varied anywhere, which says nothing of the examples not drawn.
    """
    own = -stdtrit(found.freedom, risk) * np.sqrt(found.variance)
    pooled = (found.freedom * found.variance + BORROWED * typical) / (found.freedom + BORROWED)
    moderated = -stdtrit(found.freedom + BORROWED, risk) * np.sqrt(pooled)
    return np.where(pooled > 0, np.maximum(own, moderated) * np.sqrt(found.stretch), np.inf)
