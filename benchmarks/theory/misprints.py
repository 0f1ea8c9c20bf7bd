"""Formulas of the papers as printed and as they should read, both against direct computation in float64.

Run: `python -m benchmarks.theory.misprints`. Each function returns two relative errors: as printed, corrected. The
table in docs/theory.md says what each one is about.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from unlearning.bounds.a_priori import eq_6_41_as_printed_which_is_not_a_bound

Errors = tuple[float, float]


def normal(*shape: int, seed: int) -> Tensor:
    """Return standard normal float64 numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positive(d: int, seed: int) -> Tensor:
    """Return a positive definite matrix (d, d)."""
    root = normal(d, d, seed=seed)
    return root @ root.mT / d + 0.3 * torch.eye(d, dtype=torch.float64)


def off(found: Tensor, truth: Tensor) -> float:
    """Return ||found - truth|| / ||truth||."""
    return float(torch.linalg.norm(found - truth) / torch.linalg.norm(truth))


def divergence(mean: float, std: float) -> Tensor:
    """Return KL(N(mean, std^2) || N(0, std^2)) from torch.distributions."""
    scale = torch.tensor(std, dtype=torch.float64)
    laws = (torch.distributions.Normal(torch.tensor(each, dtype=torch.float64), scale) for each in (mean, 0.0))
    return torch.distributions.kl_divergence(*laws)


def ntk_scrubbing() -> Errors:
    """Eq. 3.10 (ECCV eq. 10): from the fit of all records to the fit of the retained ones, no ridge, d > n."""
    kept, gone, d = 6, 3, 20
    jacobian, start = normal(kept + gone, d, seed=1), normal(d, seed=2)
    error = normal(kept + gone, seed=3)  # Y - f_0

    def fit(rows: Tensor, wanted: Tensor) -> Tensor:
        return start + rows.mT @ torch.linalg.solve(rows @ rows.mT, wanted)

    j_r, j_f, e_r, e_f = jacobian[:kept], jacobian[kept:], error[:kept], error[kept:]
    theta_rr, theta_rf, theta_ff = j_r @ j_r.mT, j_r @ j_f.mT, j_f @ j_f.mT
    projection = torch.eye(d, dtype=torch.float64) - j_r.mT @ torch.linalg.solve(theta_rr, j_r)
    m = torch.linalg.inv(theta_ff - theta_rf.mT @ torch.linalg.solve(theta_rr, theta_rf))
    seen = theta_rf.mT @ torch.linalg.solve(theta_rr, e_r)
    trained, truth = fit(jacobian, error), fit(j_r, e_r)
    printed = trained + projection @ j_f.mT @ m @ (e_f + seen)
    corrected = trained - projection @ j_f.mT @ m @ (e_f - seen)
    return off(printed - trained, truth - trained), off(corrected - trained, truth - trained)


def gaussian_divergence() -> Errors:
    """Proposition 5: the quadratic term plus d(Sigma, Sigma_0), without 1/2 and with plus log det."""
    sigma, sigma0, moved = positive(4, seed=4), positive(4, seed=5), normal(4, seed=6)
    laws = [torch.distributions.MultivariateNormal(mean, s) for mean, s in ((moved, sigma), (0 * moved, sigma0))]
    truth = torch.distributions.kl_divergence(*laws)
    ratio = torch.linalg.solve(sigma0, sigma)
    quadratic = moved @ torch.linalg.solve(sigma0, moved)
    printed = quadratic + ratio.trace() + ratio.logdet() - 4
    corrected = 0.5 * (quadratic + ratio.trace() - ratio.logdet() - 4)
    return off(printed, truth), off(corrected, truth)


def gradient_flow() -> Errors:
    """Proposition 3 and eq. 2.7: from the flow on the whole loss at time t to the flow on the retained loss."""
    a, b, t = positive(4, seed=7), positive(4, seed=8), 0.7
    best_a, best_b, start = normal(4, seed=9), normal(4, seed=10), normal(4, seed=11)

    def flow(hessian: Tensor, best: Tensor) -> Tensor:
        return best + torch.linalg.matrix_exp(-t * hessian) @ (start - best)

    w, truth = flow(a, best_a), flow(b, best_b)
    d, d_r = w - best_a, w - best_b  # A^-1 grad L_D and B^-1 grad L_Dr
    decay, grow = torch.linalg.matrix_exp(-t * b), torch.linalg.matrix_exp(t * a)
    printed = w + decay @ grow @ d + decay @ (d - d_r) - d_r
    corrected = w + decay @ grow @ d + decay @ (d_r - d) - d_r
    return off(printed, truth), off(corrected, truth)


def ridge_problem(n: int = 12, d: int = 4, mu: float = 0.2) -> tuple[Tensor, Tensor, float]:
    """Return phi (n, d), targets (n,) and mu."""
    return normal(n, d, seed=12), normal(n, seed=13), mu


def fit_mean(phi: Tensor, target: Tensor, mu: float) -> Tensor:
    """Return the minimiser of 1/(2n) sum (phi w - t)^2 + mu/2 ||w||^2."""
    return torch.linalg.solve(hessian_mean(phi, mu), phi.mT @ target / len(phi))


def hessian_mean(phi: Tensor, mu: float) -> Tensor:
    """Return 1/n sum phi phi^T + mu I."""
    return phi.mT @ phi / len(phi) + mu * torch.eye(phi.shape[1], dtype=torch.float64)


def hessian_without_mean() -> Errors:
    """Eq. 6.10 and 6.12: one Newton step (6.9) on the loss 6.8, from zero, must land on its minimiser."""
    phi, target, mu = ridge_problem()
    gradient = -phi.mT @ target / len(phi)
    summed = phi.mT @ phi + mu * torch.eye(4, dtype=torch.float64)
    truth = fit_mean(phi, target, mu)
    return off(-torch.linalg.solve(summed, gradient), truth), off(
        -torch.linalg.solve(hessian_mean(phi, mu), gradient), truth
    )


def scale_of_noise() -> Errors:
    """Eq. 6.13 adds sigma^2 eps; the proofs (6.32, 6.41) divide by sigma^2. KL of noise that is really drawn so."""
    sigma, moved = 0.3, 0.05
    assumed = torch.tensor(moved**2 / (2 * sigma**2), dtype=torch.float64)
    return off(divergence(moved, sigma**2), assumed), off(divergence(moved, sigma), assumed)


def units_of_theorem_3() -> Errors:
    """Theorem 3 states sqrt(sigma) and sigma where its proof ends in sigma and sigma^2. In other units of the weights
    (targets and sigma times 10, losses times 100) a number of nats must stay what it is.
    """

    def value(unit: float, power: float) -> float:
        sigma = (0.5 * unit) ** power  # 6.41 reads sigma; the statement has its square root in the same places
        return eq_6_41_as_printed_which_is_not_a_bound(
            contraction=0.75, steps=10, alpha=1.0, forgotten=5, beta=2.0, start_loss=0.3 * unit**2, count=100, mu=1.0,
            sigma=sigma, weights=4, training_noise=0.1 * unit**2, batch=8,
        )  # fmt: skip

    statement, proof = (abs(value(10.0, power) / value(1.0, power) - 1.0) for power in (0.5, 1.0))
    return statement, proof


def closed_form() -> Errors:
    """Eq. 5.4 with J = gradient^T (d, N) as defined there: (J^T J + lambda I)^-1 J fits only N = d, and is wrong."""
    j, wanted, ridge = normal(5, 5, seed=14), normal(5, seed=15), 0.3
    eye = torch.eye(5, dtype=torch.float64)
    truth = torch.linalg.lstsq(
        torch.cat([j.mT, math.sqrt(ridge) * eye]), torch.cat([wanted, 0 * wanted]).unsqueeze(1)
    ).solution.squeeze(1)
    printed = torch.linalg.solve(j.mT @ j + ridge * eye, j @ wanted)
    return off(printed, truth), off(torch.linalg.solve(j @ j.mT + ridge * eye, j @ wanted), truth)


def weights_without_a_record() -> Errors:
    """Eq. 5.7, the factor e_i of its derivation put in (eq. after 5.15): the shift of the weights, mean loss."""
    phi, target, mu = ridge_problem()
    n, w = len(phi), fit_mean(phi, target, mu)
    truth = fit_mean(phi[1:], target[1:], mu) - w
    error = target[0] - phi[0] @ w
    inverse = torch.linalg.inv(hessian_mean(phi[1:], mu))
    printed = inverse @ phi[0] * (error / n)
    corrected = -inverse @ (phi[0] * error - mu * w) / (n - 1)
    return off(printed, truth), off(corrected, truth)


def prediction_without_a_record() -> Errors:
    """Eq. 5.8 against refitting, with a ridge that does not change with n (the case in which its form is right)."""
    phi, target, mu = ridge_problem()
    n, tested, ridge = len(phi), normal(4, seed=16), mu * len(phi)

    def fit(rows: Tensor, wanted: Tensor) -> Tensor:
        return torch.linalg.solve(rows.mT @ rows + ridge * torch.eye(4, dtype=torch.float64), rows.mT @ wanted)

    w = fit(phi, target)
    truth = tested @ (w - fit(phi[1:], target[1:]))
    error = target[0] - phi[0] @ w
    metric = torch.linalg.inv(phi.mT @ phi / n + mu * torch.eye(4, dtype=torch.float64))
    alpha = phi[0] @ metric @ phi[0]
    printed = (1 - alpha / (n - 1 + alpha)) * (error / n) * (tested @ metric @ phi[0])
    leverage = alpha / n
    corrected = (error / n) * (tested @ metric @ phi[0]) / (1 - leverage)
    return off(printed, truth), off(corrected, truth)


def rank_one_inverse() -> Errors:
    """Section 5.4.3: the inverse of A - g^T g/(N-1), printed with a minus and a plus that belong to A + g^T g/(N-1)."""
    a, g, n = positive(4, seed=17), normal(4, seed=18), 30
    truth = torch.linalg.inv(a - torch.outer(g, g) / (n - 1))
    inverse = torch.linalg.inv(a)
    moved, alpha = torch.outer(inverse @ g, inverse @ g), g @ inverse @ g
    return off(inverse - moved / (n - 1 + alpha), truth), off(inverse + moved / (n - 1 - alpha), truth)


def noisy_descent() -> Errors:
    """Chapter 7, Propositions 4, 7 and 8: rho of T releases with sensitivity 1 and noise sigma; rho is their KL."""
    steps, sigma = 50, 7.0
    truth = steps * divergence(1.0, sigma)
    printed, corrected = (torch.tensor(top / (2 * sigma**2), dtype=torch.float64) for top in (steps**2, steps))
    return off(printed, truth), off(corrected, truth)


ROWS: dict[str, Callable[[], Errors]] = {
    "eq. 3.10 (ECCV eq. 10)": ntk_scrubbing,
    "Proposition 5 (ECCV 1)": gaussian_divergence,
    "Proposition 3, eq. 2.7": gradient_flow,
    "eq. 6.10, 6.12": hessian_without_mean,
    "eq. 6.13, Definition 2": scale_of_noise,
    "Theorem 3, statement": units_of_theorem_3,
    "eq. 5.4": closed_form,
    "eq. 5.7": weights_without_a_record,
    "eq. 5.8": prediction_without_a_record,
    "section 5.4.3": rank_one_inverse,
    "ch. 7, Propositions 4, 7, 8": noisy_descent,
}


def main() -> None:
    """Print the table."""
    print(f"{'place':30s} {'as printed':>12s} {'corrected':>12s}   (relative error)")
    for place, check in ROWS.items():
        printed, corrected = check()
        print(f"{place:30s} {printed:12.1e} {corrected:12.1e}")


if __name__ == "__main__":
    main()
