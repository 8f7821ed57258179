"""Models: frozen parameters that answer for densities and scores.

Parameters are small NumPy float64 arrays; points keep their library, device and precision, feature major (d, n).
Anything with a denoiser at (y, sigma) can be sampled, so models share no base class.

Read in this order:

1. `covariance`: the four types, and why a pass of EM is two matrix products.
2. `by_component`, `log_joint`: log densities of components one by one, and of all at once.
3. `mixture`: a Gaussian mixture: density, score at any noise level, samples, parts and conditions.
4. `gates`: which cell a point belongs to, hard (Voronoi) or soft.
5. `whitening`, `likelihood_ratio`: roots of covariances; cells where one component's likelihood leads.
6. `score_model`: one formula for scores of cells, and for a mixture with corrections.
7. `subspace`: the frame in which levels are learnt.
8. `ladder`: levels of falling noise as one denoiser.
"""
