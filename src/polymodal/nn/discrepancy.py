"""How far apart two samples of vectors are, as distributions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from polymodal.nn.masking import mean_rows, mean_where


def moment_discrepancy(
    x: Tensor, y: Tensor, rows_x: Tensor | None = None, rows_y: Tensor | None = None, *, moments: int = 5
) -> Tensor:
    """Central moment discrepancy of two samples in [0, 1] (Zellinger et al., ICLR 2017, eq. 3).

    The distances of means and of central moments, summed; no factors for another support.

    Args:
        x: ``(batch, width)``.
        y: ``(other batch, width)``; its rows need not match those of ``x``.
        rows_x: ``(batch,)`` bool, rows of ``x`` that count; None for all.
        rows_y: the same for ``y``.
        moments: highest order.

    Returns:
        Scalar, 0 for equal distributions and where either sample is empty; its gradient is finite at 0 too.
    """
    rows_x, rows_y = (
        torch.ones(len(s), dtype=torch.bool, device=s.device) if rows is None else rows
        for s, rows in ((x, rows_x), (y, rows_y))
    )
    mean_x, mean_y = mean_rows(x, rows_x), mean_rows(y, rows_y)
    gaps = [mean_x - mean_y]
    for order in range(2, moments + 1):
        gaps.append(mean_rows((x - mean_x) ** order, rows_x) - mean_rows((y - mean_y) ** order, rows_y))
    # The slope of a norm at zero is undefined; torch's is zero there.
    total = torch.linalg.vector_norm(torch.stack(gaps), dim=1).sum()
    return total * (rows_x.any() & rows_y.any())


def mmd(
    x: Tensor, y: Tensor, rows_x: Tensor, rows_y: Tensor, scale: float | Tensor, *, unbiased: bool = True
) -> Tensor:
    """Squared maximum mean discrepancy of two samples (Gretton et al., JMLR 2012) with a Gaussian kernel.

    Args:
        x: ``(n, width)``.
        y: ``(m, width)``.
        rows_x: ``(n,)`` bool, rows of ``x`` that count.
        rows_y: ``(m,)`` bool, the same for ``y``.
        scale: of the kernel ``exp(-|x - y|^2 / scale)``; several, ``(kernels,)``, for their mean.
        unbiased: leave pairs of a vector with itself out: 0 on average for equal distributions, above it with them.

    Returns:
        Scalar; 0 where either sample has fewer than two rows.
    """
    with torch.autocast(x.device.type, enabled=False):
        x, y = x.float(), y.float()

        def mean(a: Tensor, b: Tensor, rows_a: Tensor, rows_b: Tensor) -> Tensor:
            pairs = rows_a[:, None] & rows_b
            if a is b and unbiased:
                pairs = pairs & ~torch.eye(len(a), dtype=torch.bool, device=a.device)
            return mean_where(gaussian_kernel(a, b, scale), pairs)

        within = mean(x, x, rows_x, rows_x) + mean(y, y, rows_y, rows_y)
        return (within - 2 * mean(x, y, rows_x, rows_y)) * ((rows_x.sum() > 1) & (rows_y.sum() > 1))


def multi_kernel_mmd(x: Tensor, y: Tensor, rows_x: Tensor, rows_y: Tensor) -> Tensor:
    """Squared maximum mean discrepancy with the mean of five Gaussian kernels (Long et al., ICML 2015), never below 0.

    Their scales are 1/4 to 4 times the mean squared distance between the vectors that count, which is a constant to the
    gradient. Arguments and result as in ``mmd``.
    """
    with torch.no_grad():
        joint = torch.cat([x[rows_x], y[rows_y]]).float()
        # The mean over all pairs, without one distance being taken.
        spread = 2 * (joint - joint.mean(0)).square().sum(1).mean() if len(joint) else joint.new_ones(())
        scales = spread.clamp(min=1e-6) * 2.0 ** torch.arange(-2, 3, device=x.device)
    return mmd(x, y, rows_x, rows_y, scales, unbiased=False)


def coral(x: Tensor, y: Tensor, rows_x: Tensor, rows_y: Tensor) -> Tensor:
    """Squared distance of two covariance matrices over ``4 width^2`` (Sun & Saenko, 2016), arguments as in ``mmd``.

    Returns:
        Scalar; 0 where either sample has fewer than two rows.
    """
    with torch.autocast(x.device.type, enabled=False):
        gap = _covariance(x.float(), rows_x) - _covariance(y.float(), rows_y)
    return gap.square().sum() / (4 * x.shape[1] ** 2) * ((rows_x.sum() > 1) & (rows_y.sum() > 1))


def moment_gap(x: Tensor, y: Tensor, rows_x: Tensor, rows_y: Tensor) -> Tensor:
    """Squared distance of two means, and ``coral``: 0 for samples of the same first two moments; arguments as in
    ``mmd``."""
    gap = (mean_rows(x.float(), rows_x) - mean_rows(y.float(), rows_y)).square().sum()
    return gap * (rows_x.any() & rows_y.any()) + coral(x, y, rows_x, rows_y)


def _covariance(x: Tensor, rows: Tensor) -> Tensor:
    centred = torch.where(rows[:, None], x - mean_rows(x, rows), x.new_zeros(()))
    return centred.T @ centred / (rows.sum() - 1).clamp(min=1)


def gaussian_kernel(x: Tensor, y: Tensor, scale: float | Tensor) -> Tensor:
    """Return ``exp(-|x_i - y_j|^2 / scale)``, or its mean over several scales ``(kernels,)``: ``(n, m)``."""
    squares = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
    scales = torch.as_tensor(scale, device=x.device, dtype=x.dtype).reshape(-1, 1, 1)
    return (-squares.clamp(min=0) / scales).exp().mean(0)


def jensen_shannon(x: Tensor, y: Tensor) -> Tensor:
    """Jensen-Shannon divergence of two distributions over classes, in nats: 0 for the same, at most ln 2.

    Args:
        x: logits ``(..., classes)``.
        y: the same shape.

    Returns:
        ``(...)`` float32.
    """
    p, q = x.float().log_softmax(-1), y.float().log_softmax(-1)
    middle = torch.logaddexp(p, q) - math.log(2)
    return 0.5 * (p.exp() * (p - middle) + q.exp() * (q - middle)).sum(-1)
