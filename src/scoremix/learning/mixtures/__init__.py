"""The default of `DiffusionMixture`: learn a mixture, then correct its score only where that surely gains.

The score of a Gaussian mixture is exact at every noise level, so a mixture is learnt once; polynomials add what it
misses, component by component.

Read in this order:

1. `full_covariances`: under general covariances, a full or a diagonal search, by cross-validation.
2. `npmle`: under isotropic noise, atoms: the nonparametric maximum-likelihood estimate of the mixing distribution.
3. `noise_scale`: that noise, where it is not known, learnt with atoms; whether one scale explains the data.
4. `mean_subspace`: the frame turned to the subspace of the means.
5. `levels`: all levels, from the top down; the regression of one is in `learning.regression`.

In: a `Source` in the coordinates of `learning.coordinates`. Out: mixtures and the levels of a `Ladder`.

Source: Kiefer and Wolfowitz 1956; Soloff, Guntuboyina and Sen 2025; the corrections are our own.
"""
