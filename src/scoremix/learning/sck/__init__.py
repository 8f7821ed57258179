"""Shah, Chen and Klivans: gradient descent on the DDPM objective of a student that is a mixture itself.

At large noise a step is a power iteration, at small noise a step of EM: that is the paper's analysis, and why two
stages of noise find means that one does not.

Read in this order:

1. `student`: the means (and weights) that are learnt, and their score at noise levels.
2. `objective`: the denoising objective and its gradient, noise drawn by key.
3. `two_components`: the same with the noise integrated out, for two components.
4. `covariances`: objective and steps where covariances are learnt too.
5. `optimizers`: plain, preconditioned and Adam steps.
6. `tensor_power`: means by the third moment, as a start.
7. `starts`: random, tensor and k-means starts.
8. `descent`: stages, the loop, and the record of it.

In: a `Source` in units of the known covariance. Out: a `Student`, as a `Mixture`.

Source: Shah, Chen and Klivans, NeurIPS 2023 (arXiv 2307.01178), Algorithm 1; line by line in docs/sck.md.
"""
