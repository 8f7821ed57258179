"""Chen, Kontonis and Shah: mixtures with general covariances, by crude estimates and likelihood-ratio cells.

Crude means and covariances need be right only up to constants: a candidate is good enough when the cells that it cuts,
where one component's likelihood leads, hold polynomials that denoise well.

Read in this order:

1. `covariances`: crude covariances from second moments around a center (Algorithm 3).
2. `means`: the subspace of the means and crude means in it (Algorithm 2).
3. `cells`: likelihood-ratio cells, their regression, and the choice between candidates by held-out loss.
4. `gates`: soft gates at one level.
5. `candidates`: sets of crude estimates where the number of components is not known.
6. `ladder`: all levels, and the components that the lowest one tells.

In: a `Source` of standardized columns. Out: a `Ladder` of `PiecewiseScore` levels.

Source: Chen, Kontonis and Shah, COLT 2025 (arXiv 2404.18893), Algorithms 2, 3 and 5; line by line in docs/cks.md.
"""
