"""Score regression: the polynomial part of a score, learnt from samples to which noise is added.

A denoiser E[x | y] minimises a squared loss over pairs (x, y = x + sigma z), so a score that is linear in its features
is a least-squares problem. Sums are kept by folds of the samples; all degrees and all held-out losses come out of one
pass.

Read in this order:

1. `normal_equations`: Gram matrix, cross moments and target, added up; the ridge solve.
2. `degrees`: which features of each cell are kept, by held-out loss or only where the gain is sure.
3. `scores`: the statistic of one noise level, and what a problem declares.
4. `corrections`: the problem of the default: what a mixture's score misses, component by component.

In: a `Source`, cells or a mixture, a noise level. Out: coefficients and the held-out denoising loss.

Source: Gatmiry, Kelner and Lee, arXiv 2404.18869, Algorithm 1; the choice of degrees is our own.
"""
