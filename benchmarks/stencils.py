"""The fixed designs of the polynomial operators: conditioning, and what they make of noise.

    python benchmarks/stencils.py [--json]

White noise of standard deviation e in the field's values becomes gain * e / scale in a component of
the gradient, and gain * e / scale^2 in one of the Hessian.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from fairfield.operators.automatic_scale import DENSE, SPARSE
from fairfield.operators.polynomial import monomial_exponents, two_shell_stencil
from fairfield.operators.tangent import tangent_stencil
from numpy.typing import NDArray


def main() -> None:
    """Compute and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    options = parser.parse_args()
    rows = []
    for degree in (1, 2, 3, 4):
        stencil = two_shell_stencil(degree)
        rows.append(
            row(
                f"ball, two shells, degree {degree}",
                stencil.offsets,
                degree,
                stencil.gradient,
                stencil.hessian,
            )
        )
    for spacing in (SPARSE, DENSE):
        tangent = tangent_stencil(spacing)
        flat = tangent.samples[~tangent.beside, :2]
        for degree, weights in ((4, tangent.weights), (2, tangent.lower_weights)):
            rows.append(
                row(
                    f"tangent disk, spacing {spacing}, degree {degree}",
                    flat,
                    degree,
                    weights[1:3],
                    weights[4:],
                    len(tangent.samples),
                )
            )
    if options.json:
        print(json.dumps(rows))
        return
    print(f"{'design':40s}{'samples':>9s}{'condition':>11s}{'gradient':>10s}{'Hessian':>9s}")
    for each in rows:
        print(
            f"{each['design']:40s}{each['samples']:9d}{each['condition']:11.1f}"
            f"{each['gradient_gain']:10.3f}{each['hessian_gain']:9.3f}"
        )


def row(
    name: str,
    offsets: NDArray,
    degree: int,
    gradient: NDArray,
    hessian: NDArray,
    samples: int | None = None,
) -> dict[str, float | int | str]:
    """One design; the condition is that of its monomials in units of the scale."""
    table = np.prod(offsets[:, None] ** monomial_exponents(offsets.shape[1], degree), axis=2)
    weights = hessian.reshape(-1, hessian.shape[-1])
    return {
        "design": name,
        "samples": samples or len(offsets),
        "condition": float(np.linalg.cond(table)),
        "gradient_gain": float(np.sqrt((gradient**2).sum(axis=1)).max()),
        "hessian_gain": float(np.sqrt((weights**2).sum(axis=1)).max()),
    }


if __name__ == "__main__":
    main()
