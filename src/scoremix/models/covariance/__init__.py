"""Covariances of the components of a Gaussian mixture: four final classes with the same methods, no flags.

A mixture is an exponential family: with features ``phi(x)`` about a *frame* (a point near the data) the logarithm of
``w_k N(x; m_k, S_k)`` is linear, ``theta_k . phi(x)``, and so is the statistic of an EM step, ``sum_n r_nk phi(x_n)``.
So a pass over the data is two matrix products, whatever the covariance; what a class says is its features, its natural
parameters ``theta``, and what the sums mean:

===========  ============================  =================  =======================
class        features about the frame      their number       second moment of a mass
===========  ============================  =================  =======================
`Full`       ``1, x, upper(x x^T)``        (d + 1)(d + 2)/2   (k, d, d)
`Diagonal`   ``1, x, x * x``               1 + 2 d            (k, d)
`Spherical`  ``1, x, |x|^2``               2 + d              (k,), summed over axes
`Tied`       ``1, x, |U^T x|^2``           2 + d              (d, d), all components
===========  ============================  =================  =======================

Parameters are NumPy float64 arrays, small; data keep their library and precision, feature major: (d, n).

A new type is a file like those four, and a line in `types`.
"""
