"""The exercises of notebook 00: the first steps, and how `check` talks."""

from qtutor.tutorial.exercises import Choice, Exercise, Function, Number

# 0.1  which integer does x become?


def code(x: float, scale: float) -> int:
    return round(x / scale)


# 0.3  the way back


def back(q: int, scale: float) -> float:
    return scale * q


# 0.4  a scale that is fine enough and reaches far enough


def violated(scale: float) -> str | None:
    if not scale > 0:
        return "A scale is a width, so it must be over 0."
    codes = {x: round(x / scale) for x in (10.0, 10.5, 50.0)}
    if codes[10.0] == codes[10.5]:
        return f"10.0 and 10.5 both get the code {codes[10.0]}: the steps are too wide."
    if codes[50.0] > 127:
        return f"50.0 asks for the code {codes[50.0]}, and 127 is the last: the steps are too small."
    return None


EXERCISES: dict[str, Exercise] = {
    "0.1": Function(
        cases=[(3.4, 0.5), (-3.1, 0.5), (2.9, 2.0), (0.0, 0.1), (10.0, 0.25)],
        expected=code,
        mistakes={
            "you multiply by the scale instead of dividing": lambda x, scale: round(x * scale),
            "you drop the fraction instead of rounding": lambda x, scale: int(x / scale),
            "you add 0.5 and drop the fraction, which goes wrong below 0": (
                lambda x, scale: int(x / scale + 0.5)
            ),
            "you always round down": lambda x, scale: x // scale,
            "you round x, and then divide": lambda x, scale: round(x) / scale,
            "you divide, but do not round": lambda x, scale: x / scale,
            "you round, but leave the code a float": lambda x, scale: float(round(x / scale)),
        },
    ),
    "0.2": Number(
        expected=lambda: 2**3 - 1,
        mistakes={
            "you leave no code out": lambda: 8,
            "you count the steps between the codes": lambda: 6,
            "you count one sign only": lambda: 3,
        },
    ),
    "0.3": Function(
        cases=[(6, 0.5), (-6, 0.5), (0, 0.1), (127, 0.02)],
        expected=back,
        mistakes={
            "you divide by the scale instead of multiplying": lambda q, scale: q / scale,
            "you round what comes back": lambda q, scale: float(round(q * scale)),
            "you add the scale": lambda q, scale: q + scale,
        },
    ),
    "0.4": Choice(violated=violated, example=0.4, wrong=[2.0, 1.0, 0.1, -0.4]),
    "0.5": Number(
        expected=lambda: 4 + 16 / 32,
        mistakes={
            "you forget the scales": lambda: 4.0,
            "you give every weight a scale of its own": lambda: 20.0,
            "you count one bit for each scale": lambda: 4 + 1 / 32,
        },
        tolerance=0.001,
    ),
}
