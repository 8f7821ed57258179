"""Gatmiry, Kelner and Lee: mixtures with identity covariance, and what is near them, by piecewise polynomials.

At every noise level the space is cut into cells around warm starts, and the score is a polynomial in each. Centers of
one level are the warm starts of the next one below: nothing is searched for but at the top.

Read in this order:

1. `warm_starts`: a greedy cover of noisy samples (Algorithm 2), and gates refined by EM.
2. `posterior_mean`: the regression of one level (Algorithm 1).
3. `ladder`: all levels from the top down.
4. `clusters`: the cells of the lowest level as clusters, for the report.

In: a `Source`, the frame of its subspace, decreasing noise levels. Out: a `Ladder` of `PiecewisePolynomial` levels.

Source: Gatmiry, Kelner and Lee, arXiv 2404.18869, Algorithms 1 and 2; line by line in docs/gkl.md.
"""
