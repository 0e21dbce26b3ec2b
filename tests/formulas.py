r"""Read the formulas of the notebooks: LaTeX becomes an expression of Python, to be evaluated on numbers.

This is a small reader, by recursive descent, of what the numbered equations use, no more: what it does not
know is a SyntaxError. `formula_numbers.py` says which name stands for which symbol; a symbol without an entry
there is a LookupError. What a subscript means follows from that:

    S_1           a symbol of this name, for it has an entry
    q_{1,mk}      q_1 at the indices m and k, for q_1 has one
    q_1           q_1 at the indices that it has in the table of the equation
    q_{y+i}       an index can be computed

A sum, a mean and an expectation without an index run over i, a maximum of one thing over all it has.
As in the notebooks, a product without a sign binds closer than a slash: x/2w is x/(2w).
"""

import re
from functools import reduce
from typing import NamedTuple

import numpy as np
from formula_numbers import FUNCTIONS, SYMBOLS

RELATIONS = {"=": "==", r"\approx": "==", r"\le": "<=", r"\ge": ">=", "<": "<", ">": ">"}
SPACE = re.compile(r"\\[,;:! ]|\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])|\\text\{[^{}]*\}|\s+")
# an argument without braces is one digit: \tfrac12 is a half
TOKEN = re.compile(
    r"\\mathrm\{[^{}]*\}|\\[A-Za-z]+|\\.|(?:(?<=[\^_])|(?<=frac)|(?<=frac\d))\d|\d+(?:\.\d+)?|\S"
)
CLOSING = {")", "]", "}", r"\rvert", r"\rfloor", r"\rceil"}
BETWEEN = {"+", "-", "/", r"\cdot", r"\times", ",", r"\|", r"\quad", r"\qquad", *RELATIONS}
PAIRS = {
    "|": {"|": "absolute"},
    r"\lvert": {r"\rvert": "absolute"},
    r"\lfloor": {r"\rfloor": "floor", r"\rceil": "nearest"},
    r"\lceil": {r"\rceil": "ceil"},
}


class Token(NamedTuple):
    text: str
    start: int
    end: int


class Side(NamedTuple):
    """One side of an equation."""

    relation: str  # to the side before: "==", "<=", ">=", "<", ">"; "" for the first
    python: str
    latex: str
    decimals: int | None  # of a plain number such as 6.02, which is not meant to be exact


class Formula(NamedTuple):
    statements: list[list[Side]]  # a = b, c = d gives two
    names: set[str]  # of symbols, in Python
    fractions: list[tuple[slice, slice]]  # the places of each numerator and its denominator
    products: list[slice]  # the places between two factors: nothing, or a sign


def read(latex, axes):
    r"""The statements of a formula; axes are the indices of each symbol that has any.

    >>> [side.python for side in read(r"\hat x_i = S\,(q_i - Z)", {"x_hat": "i", "q": "i"}).statements[0]]
    ['x_hat[i]', '(S * (q[i] - Z))']
    >>> read(r"\sum_k (q_1 - Z_1)^2 / 2S \le K", {"q1": "mk"}).statements[0][0].python
    "total((((q1[m, k] - Z1) ** 2) / (2 * S)), 'k')"
    >>> read(r"\lfloor \max(|x| - c,\, 0) \rfloor", {"x": "i"}).statements[0][0].python
    'floor(maximum((absolute(x[i]) - c), 0))'
    """
    reader = Reader(latex, axes)
    return Formula(reader.statements(), reader.names, reader.fractions, reader.products)


def canonical(symbol):
    r"""A symbol without what only sets it.

    >>> canonical(r"q_{\min}"), canonical(r"\hat{x}"), canonical(r"\mathrm{share\ of\ codes}")
    ('q_\\min', '\\hatx', 'shareofcodes')
    """
    return re.sub(r"\\mathrm|\\(?=[ ,;:!])|[{}\s,]", "", symbol)


NAMES = {canonical(symbol): name for symbol, name in SYMBOLS.items()}
CALLS = {canonical(symbol): name for symbol, name in FUNCTIONS.items()}


class Reader:
    """One pass over the tokens of a formula; each method reads what it is called and returns Python."""

    def __init__(self, latex, axes):
        self.latex, self.axes = latex, axes
        self.letters = set("".join(axes.values())) - {"?"}
        self.names, self.fractions, self.products = set(), [], []
        self.tokens, self.at = [], 0
        place = 0
        while place < len(latex):
            if not (found := SPACE.match(latex, place)):
                found = TOKEN.match(latex, place)
                self.tokens.append(Token(found[0], found.start(), found.end()))
            place = found.end()
        self.in_bars = False  # between | and |, where a | closes
        self.variables = []  # of the integrals around
        self.stop = len(self.tokens)  # where the innermost integrand ends

    # --- tokens

    @property
    def next(self):
        return self.tokens[self.at].text if self.at < self.stop else ""

    def take(self, expected=None):
        if self.at >= self.stop or expected not in (None, self.next):
            raise SyntaxError(
                f"{expected or 'something'} is expected before {self.latex[self.here() :]!r} in {self.latex}"
            )
        self.at += 1
        return self.tokens[self.at - 1].text

    def here(self):
        """The place in the LaTeX where the next token starts."""
        return self.tokens[self.at].start if self.at < len(self.tokens) else len(self.latex)

    def since(self, start):
        """The place in the LaTeX from the token at `start` up to the last one taken."""
        return slice(self.tokens[start].start, self.tokens[self.at - 1].end)

    def starts_a_factor(self):
        return self.next not in {"", *CLOSING, *BETWEEN, "^", "_"} and not (self.in_bars and self.next == "|")

    def argument(self, read_inside):
        """What a ^, a _ or a fraction takes: a group, or one token."""
        if self.next != "{":
            return self.atom() if read_inside == self.expression else [self.take()]
        self.take()
        inside = read_inside()
        self.take("}")
        return inside

    # --- statements, sums and products

    def statements(self):
        found = []
        while self.at < self.stop:
            if self.next in (",", r"\quad", r"\qquad") or self.next.endswith(":}"):  # or a label
                self.take()
                continue
            statement = [self.side("")]
            while self.next in RELATIONS:
                statement.append(self.side(RELATIONS[self.take()]))
            found.append(statement)
            if self.at < self.stop and self.next not in (",", r"\quad", r"\qquad"):
                self.take(",")
        return found

    def side(self, relation):
        start = self.at
        python = self.expression()
        tokens = self.tokens[start : self.at]
        plain = re.fullmatch(r"\d+\.(\d+)", tokens[0].text) if len(tokens) == 1 else None
        return Side(relation, python, self.latex[self.since(start)], len(plain[1]) if plain else None)

    def expression(self):
        sign = self.take() if self.next in ("+", "-") else ""
        python = f"({sign}{self.product()})" if sign else self.product()
        if self.next not in ("+", "-"):
            return python
        while self.next in ("+", "-"):
            python += f" {self.take()} {self.product()}"
        return f"({python})"

    def product(self):
        start, python = self.at, self.factors()
        while self.next in ("/", r"\cdot", r"\times"):
            before, sign = self.since(start), self.at
            if self.take() == "/":
                denominator = self.at
                python = f"({python} / {self.factors()})"
                self.fractions.append((before, self.since(denominator)))
            else:
                self.products.append(self.since(sign))
                python = f"({python} * {self.factors()})"
        return python

    def factors(self):
        python = self.factor()
        while self.starts_a_factor():
            self.products.append(slice(self.here(), self.here()))
            python = f"({python} * {self.factor()})"
        return python

    def factor(self):
        python = self.atom()
        while self.next == "^":
            self.take()
            python = f"({python} ** {self.argument(self.expression)})"
        return python

    # --- what a product is made of

    def atom(self):
        text = self.next
        if text[:1].isdigit():
            return self.take()
        if text in ("(", "[", "{"):
            return self.group()[0]
        if text in PAIRS:
            return self.pair()
        if text in (r"\frac", r"\tfrac", r"\dfrac"):
            return self.fraction()
        if text == r"\sqrt":
            self.take()
            return f"sqrt({self.argument(self.expression)})"
        if text == r"\log":
            self.take()
            base = self.subscript(self.expression)
            return f"log({self.call_arguments()[0]}, {base or 'e_of_log'})"
        if text in (r"\max", r"\min"):
            name = self.take()[1:]
            arguments = self.call_arguments()
            return f"{name}imum({', '.join(arguments)})" if arguments[1:] else f"all_{name}({arguments[0]})"
        if text == r"\sum":
            return self.sum()
        if text == r"\int":
            return self.integral()
        return self.symbol()

    def pair(self):
        """What stands between signs that say what is done with it."""
        opening = self.take()
        around, self.in_bars = self.in_bars, opening == "|"
        inside = self.expression()
        self.in_bars = around
        if self.next not in PAIRS[opening]:
            self.take(" or ".join(PAIRS[opening]))
        return f"{PAIRS[opening][self.take()]}({inside})"

    def group(self):
        """What stands in brackets, separated by commas or by two bars."""
        closing = {"(": ")", "[": "]", "{": "}"}[self.take()]
        around, self.in_bars = self.in_bars, False
        inside = [self.expression()]
        while self.next in (",", r"\|"):
            self.take()
            inside.append(self.expression())
        self.take(closing)
        self.in_bars = around
        return inside

    def call_arguments(self):
        return self.group() if self.next in ("(", "[") else [self.factor()]

    def fraction(self):
        self.take()
        parts, places = [], []
        for _ in range(2):
            start = self.at
            parts.append(self.argument(self.expression))
            places.append(self.since(start))
        self.fractions.append(tuple(places))
        return f"({parts[0]} / {parts[1]})"

    def sum(self):
        self.take()
        letters, where = [], ""
        for token in self.subscript(self.tokens_of_a_group) or ["i"]:
            if token.startswith(r"\mathrm"):  # a condition on the index
                where = self.at_indices(self.name(token), [])
            elif token != ",":
                letters.append(token)
        if not all(map(self.is_index, letters)):
            raise LookupError(f"{self.latex} sums over an index that no symbol of it has")
        body = self.product()
        if where:
            body = f"where({where}, {body}, 0)"
        return f"total({body}, {''.join(letters)!r})"

    def integral(self):
        self.take()
        bounds = {}
        while self.next in ("_", "^"):
            side = self.take()
            bounds[side] = self.argument(self.expression)
        texts, around = [token.text for token in self.tokens], self.stop
        if "d" not in texts[self.at : around - 1]:
            raise SyntaxError(f"an integral of {self.latex} does not say over what it runs, as in de")
        self.stop = texts.index("d", self.at)
        variable = texts[self.stop + 1]
        self.variables.append(variable)
        body = self.product()
        self.variables.pop()
        if self.at != self.stop:
            raise SyntaxError(f"d{variable} does not follow the integrand in {self.latex}")
        self.at, self.stop = self.at + 2, around
        return f"integral(lambda {variable}: {body}, {bounds['_']}, {bounds['^']})"

    # --- symbols

    def symbol(self):
        base = self.take()
        if not re.fullmatch(r"\\mathrm\{.*\}|\\[A-Za-z]+|[A-Za-z]", base):
            raise SyntaxError(f"{base} is not expected in {self.latex}")
        if base in (r"\hat", r"\bar", r"\tilde"):
            base += "".join(self.argument(self.tokens_of_a_group))
        while self.next == "'":
            base += self.take()
        if base in self.variables:
            return base
        parts = "".join(self.subscript(self.tokens_of_a_group) or []).split(",")
        for known in (len(parts), 1, 0):  # how many parts of the subscript belong to the name
            key = canonical("_".join([base, *filter(None, ["".join(parts[:known])])]))
            if key in CALLS:
                self.names.add(CALLS[key])
                return f"{CALLS[key]}({', '.join(self.call_arguments())})"
            if key in NAMES and all(map(self.is_index, parts[known:])):
                return self.at_indices(self.name(key), [i for part in parts[known:] for i in indices(part)])
        raise no_entry(base + (f"_{{{','.join(parts)}}}" if parts != [""] else ""))

    def subscript(self, read_inside):
        if self.next == "_":
            self.take()
            return self.argument(read_inside)
        return None

    def tokens_of_a_group(self):
        found, depth = [], 0
        while self.next != "}" or depth:
            depth += {"{": 1, "}": -1}.get(self.next, 0)
            found.append(self.take())
        return found

    def name(self, symbol):
        key = canonical(symbol)
        if key not in NAMES:
            raise no_entry(symbol)
        self.names.add(NAMES[key])
        return NAMES[key]

    def is_index(self, text):
        """Whether it is one index or more, or a sum of indices such as y+i."""
        return re.fullmatch(r"[A-Za-z+-]*", text) and set(text) - {"+", "-"} <= self.letters

    def at_indices(self, name, given):
        """A symbol at its indices; the first are those of its axes, where the formula leaves them out."""
        axes = self.axes.get(name, "")
        if len(given) > len(axes):
            raise LookupError(f"{name} has {len(given)} indices in {self.latex}, instead of {len(axes)}")
        index = [*axes[: len(axes) - len(given)], *given]
        return f"{name}[{', '.join(index)}]" if index else name


def indices(part):
    """mk is two indices, y+i is one."""
    return [part] if re.search(r"[-+]", part) else list(part)


def no_entry(symbol):
    return LookupError(
        f"the symbol {symbol} has no entry in SYMBOLS of tests/formula_numbers.py, "
        "or its subscript has an index that no symbol of this equation has"
    )


# --- what the expressions mean


def evaluate(python, values, axes):
    """The value of an expression, as an array with one axis for each index of the equation, in order."""
    sizes = {}
    for name, letters in axes.items():
        for letter, size in zip(letters, np.shape(values[name]), strict=True):
            if letter != "?" and sizes.setdefault(letter, size) != size:
                raise ValueError(
                    f"the index {letter} of {name} runs over {size}, elsewhere over {sizes[letter]}"
                )
    order = sorted(sizes)
    along = {letter: [size if other == letter else 1 for other in order] for letter, size in sizes.items()}
    names = {letter: np.arange(sizes[letter]).reshape(along[letter]) for letter in order}

    def total(value, letters):
        value = np.asarray(value)
        for letter in letters:
            value = np.sum(value * np.ones(along[letter], int), axis=order.index(letter), keepdims=True)
        return value

    def mean(value):
        return total(value, "i") / sizes["i"]

    # the integers of a formula have no width
    wide = {name: value.astype(np.int64) for name, value in values.items() if is_integers(value)}
    with np.errstate(all="ignore"):
        return np.asarray(eval(python, {**values, **wide, **TOOLS, "total": total, "mean": mean, **names}))


def is_integers(value):
    return isinstance(value, np.ndarray) and value.dtype.kind in "iu"


def integral(function, start, end):
    """Exact for the polynomials up to degree 9: Gauss's rule with five nodes."""
    nodes, weights = np.polynomial.legendre.leggauss(5)
    half = (end - start) / 2
    return half * sum(w * function(start + half * (1 + node)) for node, w in zip(nodes, weights, strict=True))


TOOLS = {
    "absolute": np.abs,
    "all_max": np.max,
    "all_min": np.min,
    "ceil": np.ceil,
    "e_of_log": np.e,
    "floor": np.floor,
    "integral": integral,
    "log": lambda x, base: np.log(x) / np.log(base),
    "maximum": lambda *terms: reduce(np.maximum, terms),
    "minimum": lambda *terms: reduce(np.minimum, terms),
    "nearest": lambda x: np.floor(x + 0.5),
    "rint": np.rint,
    "saturate": lambda x: np.clip(x, -128, 127),  # to INT8, as all of them
    "sign": np.sign,
    "sqrt": np.sqrt,
    "where": np.where,
}
