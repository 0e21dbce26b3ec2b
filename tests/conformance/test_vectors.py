"""The comparison itself must notice: what it does not understand, and a single bit that differs."""

import json
from pathlib import Path

import numpy as np
import pytest
from vectors import NotUnderstood, read, same_bits

DATA = Path(__file__).parent / "data"


@pytest.fixture
def change(tmp_path):
    """A copy of a recorded file, its meta and arrays changed by a function."""

    def make(function, name="onnxref.npz"):
        with np.load(DATA / name) as archive:
            arrays = dict(archive)
        meta = json.loads(str(arrays.pop("meta")))
        function(meta, arrays)
        np.savez(tmp_path / name, meta=json.dumps(meta), **arrays)
        return tmp_path / name

    return make


def test_an_unchanged_copy_passes(change):
    assert all(not case.compare()[2] for case in read(change(lambda meta, arrays: None)))


@pytest.mark.parametrize(
    ("what", "function"),
    {
        "no rules for engine": lambda meta, arrays: meta["provenance"].update(engine="another engine"),
        "no rule for Abs": lambda meta, arrays: meta["cases"][3].update(op="Abs"),
        "holds no case": lambda meta, arrays: meta.update(cases=[]) or arrays.clear(),
        "lacks": lambda meta, arrays: arrays.pop("c3/x"),
        "missing a required argument": lambda meta, arrays: meta["cases"][3].pop("dtype"),
        "unexpected keyword argument 'mode'": lambda meta, arrays: meta["cases"][3].update(mode="new"),
        "arrays of no case": lambda meta, arrays: arrays.update(extra=np.zeros(1)),
        "nothing that": lambda meta, arrays: meta["cases"][3]["arrays"].remove("y") or arrays.pop("c3/y"),
        "is no file of recorded cases": lambda meta, arrays: meta.pop("provenance"),
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_understood_is_named(change, what, function):
    with pytest.raises(NotUnderstood, match=what):
        for case in read(change(function)):
            case.bound()


@pytest.mark.parametrize("changed", ["values", "dtype", "shape"])
def test_an_answer_that_differs_fails_its_case_alone(change, changed):
    def spoil(meta, arrays):
        y = arrays["c3/y"]
        y.flat[0] ^= 1
        arrays["c3/y"] = {"values": y, "dtype": y.astype(np.int16), "shape": y[None]}[changed]

    cases = read(change(spoil))
    failed = [case.number for case in cases if case.compare()[2]]
    assert failed == [3]
    equal, elements, _ = cases[3].compare()
    assert equal == (elements - 1 if changed == "values" else 0)


def test_a_rule_that_raises_fails_its_case_alone(change):
    cases = read(change(lambda meta, arrays: meta["cases"][3].update(dtype="int5")))
    assert [case.number for case in cases if case.compare()[2]] == [3]
    assert "KeyError" in cases[3].compare()[2][0]


def test_floats_are_compared_bit_by_bit():
    a, b = (
        np.float32([0.0, 1.0, np.nan, 1.0]),
        np.float32([-0.0, 1.0, np.nan, np.nextafter(1, 2, dtype=np.float32)]),
    )
    assert same_bits(a, b).tolist() == [False, True, True, False]


def test_a_file_that_is_no_archive_is_named(tmp_path):
    (tmp_path / "x.npz").write_text("not an archive", encoding="utf-8")
    with pytest.raises(NotUnderstood, match=r"x\.npz"):
        read(tmp_path / "x.npz")
