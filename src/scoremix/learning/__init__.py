"""Learning: from samples to the parameters of a model, in rooms by subject.

One idea carries all of them: a statistic is mapped over chunks of samples and summed, and a small problem is solved
with the sums. Read `moments` first, the simplest such statistic; then the room of interest.

==============  =====================================================================================================
`moments`       mean, covariance, and the leading subspace of second moments
`regression`    score regression: features x target -> sums -> ridge -> degree by held-out loss
`em`            expectation maximisation where the number of components and a start are given
`coordinates`   the coordinates in which X is looked at: independent columns, standardized columns, leading directions
`search`        where to start, how many components
`mixtures`      the default of `DiffusionMixture`: a mixture, and the corrections it needs
`gkl`           Gatmiry, Kelner and Lee: cells down the noise levels, identity covariance
`cks`           Chen, Kontonis and Shah: crude estimates and likelihood-ratio cells, general covariances
`sck`           Shah, Chen and Klivans: gradient descent on the DDPM objective
`modes`         the ways in which `DiffusionMixture` learns, each one function
==============  =====================================================================================================

Each room imports from those above it only, and the four before the last not from each other. What goes in is a
`samples.source.Source`; what comes out are the frozen models of `models`.
"""
