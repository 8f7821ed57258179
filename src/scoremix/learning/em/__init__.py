"""Expectation maximisation: the number of components and a start are given, climb.

A pass is two matrix products, whatever the covariance (see `models.covariance`): features of the samples times natural
parameters give log densities, responsibilities times features give the sums of the M-step. In many dimensions features
are too many, and a pass goes component by component, if it can only to the samples that matter to it.

Read in this order:

1. `acceleration`: SQUAREM and Anderson steps between passes.
2. `expected`: what a pass adds up.
3. `by_component`, `candidates`: passes component by component, over all pairs of a sample and a component or over some.
4. `em`: the E-step over chunks, the M-step, and the loop.
5. `shrinkage`: priors that keep covariances of few samples away from singularity.
6. `missing`: the E-step where entries are missing; imputed values.
7. `stepwise`: running averages of the sums, for batches that are seen once.
8. `posterior`: samples in memory and their responsibilities, as searches ask for them.
9. `incomplete`: the same of samples with missing values; draws in the place of these.
10. `seeding`: first means by D^2 sampling and Lloyd's steps, and the first M-step.

In: a `Source` and a `Mixture`. Out: an `EMResult` with the mixture and its likelihoods.

Source: Dempster, Laird and Rubin 1977; Varadhan and Roland 2008; Walker and Ni 2011; Arthur and Vassilvitskii 2007.
"""
