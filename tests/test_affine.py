"""qtutor/affine.py: the map x = scale * (q - zero_point), both ways, and the choice of its two numbers."""

import copy
import dataclasses
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qtutor import (
    INT4,
    INT8,
    UINT8,
    IntRange,
    QParams,
    QTensor,
    choose_qparams,
    dequantize,
    fake_quantize,
    int_range,
    quantize,
    round_half_away,
)
from qtutor.affine import BLOCK as BLOCK_BYTES
from qtutor.affine import SMALLEST_SCALE

BLOCK = BLOCK_BYTES // 4  # in float32 numbers; of float64, that is two blocks
INT16, UINT16 = int_range(16), int_range(16, signed=False)
RANGES = [
    int_range(bits, signed=signed, narrow=narrow)
    for bits in range(2, 17)
    for signed in (True, False)
    for narrow in (True, False)
]
LARGEST = float(np.finfo(np.float32).max)
TINIEST = 2.0**-149  # the smallest positive float32


@st.composite
def some_qparams(draw, ranges=tuple(RANGES)):
    """Any per-tensor map: every range, every zero-point, scales from the smallest float32 to 1e33."""
    to = draw(st.sampled_from(ranges))
    return QParams(draw(st.floats(TINIEST, 2.0**110, width=32)), draw(st.integers(to.qmin, to.qmax)), to)


def finite(width, largest=LARGEST):
    return st.floats(
        -largest, largest, width=width, allow_nan=False, allow_infinity=False, allow_subnormal=True
    )


# --- hand-checkable published cases


def test_quantize_gives_the_codes_of_the_onnx_examples():
    # ONNX QuantizeLinear, its examples: 3 / 2 is a tie (to even), 1000 and -1000 saturate
    x = np.float32([0, 2, 3, 1000, -254, -1000])
    assert quantize(x, QParams(2.0, 128, UINT8)).tolist() == [128, 129, 130, 255, 1, 0]
    x = np.float32([0, -128, 3, -3, 2.9, -2.9, 3.1, 65536, -65534, 70000, -70000])
    expected = [32767, 32703, 32769, 32765, 32768, 32766, 32769, 65535, 0, 65535, 0]
    assert quantize(x, QParams(2.0, 32767, UINT16)).tolist() == expected
    x = np.float32([0, -514, 3, -3, 2.9, -2.9, 65022, -66046, 65023, -66047, 65024, -66048])
    expected = [256, -1, 258, 254, 257, 255, 32767, -32767, 32767, -32768, 32767, -32768]
    assert quantize(x, QParams(2.0, 256, INT16)).tolist() == expected


def test_per_channel_maps_give_the_codes_of_the_onnx_example():
    # ONNX QuantizeLinear and DequantizeLinear, the examples with axis = 1
    qparams = QParams([2.0, 4.0, 5.0], [84, 24, 196], UINT8, axis=1)
    x = np.float32(
        [[[-162, 10, -100, 232, -20, -50], [-76, 0, 0, 252, 32, -44], [245, -485, -960, -270, -375, -470]]]
    )
    q = np.uint8([[[3, 89, 34, 200, 74, 59], [5, 24, 24, 87, 32, 13], [245, 99, 4, 142, 121, 102]]])
    assert np.array_equal(quantize(x, qparams), q)
    assert np.array_equal(dequantize(q, qparams), x)


def test_dequantize_gives_the_reals_of_the_onnx_examples():
    assert dequantize(np.uint8([0, 3, 128, 255]), QParams(2.0, 128, UINT8)).tolist() == [-256, -250, 0, 254]
    q = np.int16([-300, -30, -1025, 1270])
    assert dequantize(q, QParams(2.0, -1024, INT16)).tolist() == [1448, 1988, -2, 4588]


@pytest.mark.parametrize(
    ("x", "scale", "zero_point", "q"),
    [
        # -2.5 / (5 / 255) is -127.5, but scale is stored a little above 5 / 255: -127, not -128
        ([0, 2, -3, -2.5, 1.34, 0.5], 0.0196078438, 153, [153, 255, 0, 26, 221, 179]),
        ([-1, -2.1, -1.3, -2.5, -3.34, -4], 0.0156862754, 255, [191, 121, 172, 96, 42, 0]),
        ([1, 2.1, 1.3, 2.5, 3.34, 4], 0.0156862754, 0, [64, 134, 83, 159, 213, 255]),
    ],
)
def test_the_choice_is_that_of_onnx_dynamic_quantize_linear(x, scale, zero_point, q):
    x = np.float32(x)
    qparams = choose_qparams(x.min(), x.max(), UINT8)
    assert qparams.scale == np.float32(scale) and qparams.zero_point == zero_point
    assert quantize(x, qparams).tolist() == q


def test_the_choice_gives_the_fixed_outputs_of_the_litert_specification():
    # LiteRT 8-bit quantization specification: logistic and softmax 1/256 and -128, tanh 1/128 and 0
    logistic = choose_qparams(0.0, 255 / 256)
    assert logistic.scale == 1 / 256 and logistic.zero_point == -128
    tanh = choose_qparams(-1.0, 127 / 128)
    assert tanh.scale == 1 / 128 and tanh.zero_point == 0


def test_a_symmetric_range_on_unsigned_codes_puts_zero_at_128():
    # rmin / S is the tie -127.5; half to even, as in ONNX Runtime
    assert choose_qparams(-1.0, 1.0, UINT8).zero_point == 128
    assert choose_qparams(-1.0, 1.0, INT8).zero_point == 0


def test_relu6_uses_every_code_for_its_six_units():
    relu6 = choose_qparams(0.0, 6.0, UINT8)
    assert relu6.scale == np.float32(6 / 255) and relu6.zero_point == 0
    assert choose_qparams(0.0, 6.0, INT8).zero_point == -128


def test_the_zero_point_is_added_after_rounding():
    # 0.5 + 1 = 1.5 would go to 2: engines that add first differ on such ties
    assert quantize(np.float32([0.5, 1.5]), QParams(1.0, 1)).tolist() == [1, 3]


def test_the_tie_rule_is_the_one_passed_in():
    x, qparams = np.float32([-2.5, -0.5, 0.5, 2.5]), QParams(1.0, 0)
    assert quantize(x, qparams).tolist() == [-2, 0, 0, 2]
    assert quantize(x, qparams, rounding=round_half_away).tolist() == [-3, -1, 1, 3]
    assert fake_quantize(x, qparams, rounding=round_half_away).tolist() == [-3, -1, 1, 3]
    assert QTensor.from_real(x, qparams, rounding=round_half_away).q.tolist() == [-3, -1, 1, 3]
    assert quantize(x, qparams, rounding=np.floor).tolist() == [-3, -1, 0, 2]


# --- a QParams cannot lie


def test_fields_are_copied_and_cannot_change():
    scale, zero_point = np.array([0.5, 2.0], np.float32), np.array([1, 2], np.int32)
    qparams = QParams(scale, zero_point, axis=0)
    scale[0], zero_point[0] = 99, 99
    assert qparams.scale.tolist() == [0.5, 2.0] and qparams.zero_point.tolist() == [1, 2]
    for array in (qparams.scale, qparams.zero_point, *qparams.aligned_to((2, 3))):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    for name in ("scale", "zero_point", "to", "axis", "other"):
        with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
            setattr(qparams, name, 1)


def test_copies_and_pickles_are_as_read_only_as_the_original():
    qparams = QParams([0.5, 2.0], [1, 2], UINT8, axis=0)
    for twin in (copy.copy(qparams), copy.deepcopy(qparams), pickle.loads(pickle.dumps(qparams))):
        assert twin.scale.tolist() == [0.5, 2.0] and twin.zero_point.tolist() == [1, 2]
        assert (twin.codes, twin.axis) == (UINT8, 0)
        assert not twin.scale.flags.writeable and not twin.zero_point.flags.writeable


def test_maps_and_tensors_can_be_compared_and_be_keys():
    # == between arrays has no one answer, so a map equals itself only
    for make in (lambda: QParams([1.0, 2.0], [0, 0], axis=0), lambda: QTensor([1, 2], QParams(1.0, 0))):
        one, other = make(), make()
        assert one == one and one != other and len({one, other, one}) == 2


def test_scale_is_stored_as_float32_and_zero_point_as_int32():
    for scale in (0.1, np.float16(0.1), np.float64(0.1), 1, np.array(0.1)):
        for zero_point in (3, np.uint8(3), np.array(3, np.uint64)):
            qparams = QParams(scale, zero_point)
            assert qparams.scale.dtype == np.float32 and qparams.zero_point.dtype == np.int32
            assert qparams.scale == np.float32(scale) and qparams.scale.shape == ()
    assert (qparams.qmin, qparams.qmax) == (-128, 127)


@pytest.mark.parametrize(
    "scale", [0.0, -1.0, np.nan, np.inf, -np.inf, 1e39, 1e-46, [1.0, 0.0], [1.0, np.nan]]
)
def test_an_impossible_scale_is_refused(scale):
    axis = 0 if isinstance(scale, list) else None
    with pytest.raises(ValueError, match="scale must be > 0 and its codes finite, in float32; got scale"):
        QParams(scale, np.zeros(np.shape(scale), int), axis=axis)


def test_a_scale_whose_last_code_would_be_infinite_is_refused():
    scale = LARGEST / 127
    assert np.isfinite(QParams(scale * 0.9, 0).limits).all()
    with pytest.raises(ValueError, match="its codes finite"):
        QParams(scale, 0)  # -128 * scale has no float32
    with pytest.raises(ValueError, match="its codes finite"):
        QParams(scale * 0.9, -128)  # nor has 255 * scale


@pytest.mark.parametrize(
    ("zero_point", "to"), [(-129, INT8), (128, INT8), (-1, UINT8), (256, UINT8), (8, INT4), (2**40, INT8)]
)
def test_a_zero_point_outside_its_codes_is_refused(zero_point, to):
    with pytest.raises(
        ValueError, match=rf"zero_point needs integers in {to.qmin}..{to.qmax}, got {zero_point}"
    ):
        QParams(1.0, zero_point, to)
    with pytest.raises(ValueError, match=r"zero_point needs integers in"):
        QParams([1.0, 1.0], [to.qmax, zero_point], to, axis=0)


@pytest.mark.parametrize("zero_point", [0.0, 0.5, True, "0", None, 1j])
def test_a_zero_point_that_is_no_integer_is_refused(zero_point):
    with pytest.raises(TypeError, match="zero_point needs integers, got dtype"):
        QParams(1.0, zero_point)


@pytest.mark.parametrize("scale", ["1", True, None, 1j])
def test_a_scale_that_is_no_real_number_is_refused(scale):
    with pytest.raises(TypeError, match="QParams needs real numbers"):
        QParams(scale, 0)


@pytest.mark.parametrize(
    ("scale", "zero_point", "axis", "message"),
    [
        ([1.0, 1.0], [0, 0, 0], 0, r"scale has shape \(2,\) but zero_point has shape \(3,\)"),
        ([1.0], 0, 0, r"scale has shape \(1,\) but zero_point has shape \(\)"),
        (1.0, [0], None, r"scale has shape \(\) but zero_point has shape \(1,\)"),
        (1.0, 0, 0, r"got axis=0 and shape \(\)"),
        ([1.0], [0], None, r"got axis=None and shape \(1,\)"),
        ([[1.0]], [[0]], 0, r"got axis=0 and shape \(1, 1\)"),
        ([], np.zeros(0, int), 0, r"got axis=0 and shape \(0,\)"),
    ],
)
def test_shapes_that_disagree_are_refused(scale, zero_point, axis, message):
    with pytest.raises(ValueError, match=message):
        QParams(scale, zero_point, axis=axis)


@pytest.mark.parametrize("axis", [0.0, "0", True, (0,)])
def test_an_axis_that_is_no_integer_is_refused(axis):
    with pytest.raises(TypeError, match="axis, unless None, must be an integer, got"):
        QParams([1.0], [0], axis=axis)


@pytest.mark.parametrize("to", [8, "int8", (-128, 127), None])
def test_a_range_that_is_no_int_range_is_refused(to):
    with pytest.raises(TypeError, match="codes must be an IntRange such as INT8, got"):
        QParams(1.0, 0, to)


@pytest.mark.parametrize(
    ("shape", "axis"), [((2,), 1), ((2,), -2), ((), 0), ((3, 2), 0), ((2, 3), -1), ((0,), 0)]
)
def test_an_axis_that_the_tensor_does_not_have_is_refused(shape, axis):
    qparams = QParams([1.0, 2.0], [0, 0], axis=axis)
    message = f"axis {axis} of shape .* does not hold 2 channels"
    with pytest.raises(ValueError, match=message):
        quantize(np.zeros(shape, np.float32), qparams)
    with pytest.raises(ValueError, match=message):
        dequantize(np.zeros(shape, np.int8), qparams)
    with pytest.raises(ValueError, match=message):
        QTensor(np.zeros(shape, np.int8), qparams)


@given(some_qparams())
def test_limits_are_what_the_outermost_codes_stand_for(qparams):
    ends = dequantize(np.array([qparams.qmin, qparams.qmax]), qparams).tolist()
    assert list(qparams.limits) == ends
    assert all(type(limit) is float for limit in qparams.limits)


def test_per_channel_limits_are_two_lists():
    assert QParams([0.5, 1.0], [10, -128], axis=0).limits == ([-69.0, 0.0], [58.5, 255.0])


# --- choosing scale and zero-point


@st.composite
def real_ranges(draw, largest=1e38):
    ends = st.one_of(finite(64, largest), st.floats(-10, 10), st.sampled_from([0.0, -0.0, 1e-40, -5e-324]))
    low, high = sorted([draw(ends), draw(ends)])
    return low, high


@given(real_ranges(), st.sampled_from(RANGES), st.booleans())
def test_real_zero_always_has_a_code_in_range(real_range, to, symmetric):
    assume(not (symmetric and to.qmin == 0 and real_range[0] < 0))
    if symmetric and to.qmin > 0:
        return
    qparams = choose_qparams(*real_range, to, symmetric=symmetric)
    assert qparams.qmin <= qparams.zero_point <= qparams.qmax
    assert quantize(np.float32(0), qparams) == qparams.zero_point
    assert fake_quantize(np.float32(0), qparams) == 0


@given(real_ranges(), st.sampled_from(RANGES))
def test_scale_and_zero_point_solve_the_two_equations_exactly(real_range, to):
    low, high = (Fraction(end) for end in real_range)
    low, high = min(low, Fraction(0)), max(high, Fraction(0))
    qparams = choose_qparams(*real_range, to)
    if low == high:
        nearest = min(max(0, to.qmin), to.qmax)
        assert qparams.scale == 1 and qparams.zero_point == nearest
        return
    S = max((high - low) / (to.qmax - to.qmin), Fraction(SMALLEST_SCALE))
    assert abs(Fraction(float(qparams.scale)) - S) <= S / 2**23  # one float32 step
    Z = to.qmin - low / S
    tie = abs(Z - math.floor(Z) - Fraction(1, 2))
    if tie > Fraction(1, 2**30):  # float64 computes Z to a few 2**-37; only a tie may fall either way
        assert qparams.zero_point == min(max(round(Z), to.qmin), to.qmax)
    else:
        assert abs(int(qparams.zero_point) - Z) <= Fraction(1, 2) + Fraction(1, 2**30)


@given(real_ranges(), st.sampled_from(RANGES))
def test_the_codes_cover_the_range_to_half_a_step(real_range, to):
    qparams = choose_qparams(*real_range, to)
    low, high = qparams.limits
    S = float(qparams.scale)
    slack = S * (0.5 + to.levels * 2**-22)  # the zero-point's rounding, and float32's for scale and limit
    assert low <= min(real_range[0], 0) + slack and high >= max(real_range[1], 0) - slack


@given(real_ranges(), st.sampled_from([r for r in RANGES if r.qmin < 0]))
def test_symmetric_codes_mirror_their_reals(real_range, to):
    qparams = choose_qparams(*real_range, to, symmetric=True)
    assert qparams.zero_point == 0 and qparams.qmin == -qparams.qmax == -to.qmax
    x = np.float32([*real_range, 0.3, 1e30, TINIEST])
    assert np.array_equal(quantize(-x, qparams), -quantize(x, qparams))
    largest = max(abs(end) for end in real_range)
    assert largest == 0 or qparams.limits[1] >= largest * (1 - 2**-22)


def test_symmetric_int8_leaves_out_minus_128():
    qparams = choose_qparams(-2.5, 3.0, symmetric=True)
    assert qparams.codes == IntRange(-127, 127) and qparams.scale == np.float32(3 / 127)
    assert choose_qparams(-3.0, 2.5, int_range(8, narrow=True), symmetric=True).scale == np.float32(3 / 127)


def test_symmetric_codes_without_a_sign_start_at_zero():
    qparams = choose_qparams(0.0, 10.0, UINT8, symmetric=True)
    assert qparams.codes == UINT8 and qparams.zero_point == 0 and qparams.scale == np.float32(10 / 255)
    with pytest.raises(ValueError, match=r"have no negative values, got rmin -0\.5"):
        choose_qparams(-0.5, 10.0, UINT8, symmetric=True)
    with pytest.raises(ValueError, match="have no negative values"):
        choose_qparams([0.0, -0.5], [1.0, 1.0], UINT8, symmetric=True, axis=0)
    for to in (IntRange(1, 255), IntRange(-10, 0), IntRange(-10, -5)):
        with pytest.raises(
            ValueError, match=r"symmetric needs codes on both sides of 0, or 0..qmax; got IntRange"
        ):
            choose_qparams(0.0, 1.0, to, symmetric=True)


@pytest.mark.parametrize(("constant", "rmin", "rmax"), [(3.0, 0.0, 3.0), (-3.0, -3.0, 0.0)])
def test_a_constant_becomes_the_range_from_zero_to_it(constant, rmin, rmax):
    for symmetric in (False, True):
        qparams = choose_qparams(constant, constant, symmetric=symmetric)
        expected = choose_qparams(rmin, rmax, symmetric=symmetric)
        assert qparams.scale == expected.scale and qparams.zero_point == expected.zero_point
        assert abs(fake_quantize(np.float32(constant), qparams) - constant) <= 3 * 2**-23


def test_all_zero_data_gets_scale_1_and_zero_point_0():
    for symmetric in (False, True):
        qparams = choose_qparams(0.0, -0.0, symmetric=symmetric)
        assert qparams.scale == 1 and qparams.zero_point == 0
    assert choose_qparams(0, 0, IntRange(5, 20)).zero_point == 5
    assert choose_qparams(0, 0, IntRange(-20, -5)).zero_point == -5


@pytest.mark.parametrize("tiny", [1e-40, 5e-324, 1e-300, 2.0**-149])
def test_subnormal_ranges_get_the_smallest_normal_scale(tiny):
    for low, high in ((0.0, tiny), (-tiny, 0.0), (-tiny, tiny)):
        for symmetric in (False, True):
            qparams = choose_qparams(low, high, symmetric=symmetric)
            assert qparams.scale == SMALLEST_SCALE == np.float32(2.0**-126)
            error = np.abs(fake_quantize(np.array([low, high]), qparams) - [low, high])
            assert (error <= SMALLEST_SCALE / 2).all()


@pytest.mark.parametrize(("rmin", "rmax"), [(-1e38, 1e38), (0, 3.4e38), (-3.4e38, 0), (-1.7e38, 1.7e38)])
def test_ranges_near_the_largest_float32_work(rmin, rmax):
    qparams = choose_qparams(rmin, rmax)
    x_hat = fake_quantize(np.float32([rmin, rmax]), qparams)
    assert np.abs(x_hat - np.array([rmin, rmax])).max() <= qparams.scale * (0.5 + 2**-14)


@pytest.mark.parametrize(
    ("rmin", "rmax"), [(-1e300, 1e300), (0, 1e300), (-1.7e308, 1.7e308), (-3.4e38, 3.4e38)]
)
def test_ranges_whose_codes_float32_cannot_hold_are_refused(rmin, rmax):
    with pytest.raises(ValueError, match="codes finite, in float32; got scale"):
        choose_qparams(rmin, rmax)


@pytest.mark.parametrize(
    ("rmin", "rmax"),
    [(1.0, 0.0), (np.nan, 1.0), (0.0, np.nan), (-np.inf, 0.0), (0.0, np.inf), ([0, 2], [1, 1])],
)
def test_a_range_that_is_none_is_refused(rmin, rmax):
    with pytest.raises(ValueError, match=r"a range needs finite rmin <= rmax, got rmin .* and rmax"):
        choose_qparams(rmin, rmax, axis=0 if isinstance(rmin, list) else None)


def test_range_shapes_that_disagree_are_refused():
    with pytest.raises(ValueError, match=r"rmin has shape \(2,\) but rmax has shape \(\)"):
        choose_qparams([0.0, 0.0], 1.0, axis=0)
    with pytest.raises(ValueError, match=r"got axis=None and shape \(2,\)"):
        choose_qparams([0.0, 0.0], [1.0, 1.0])
    with pytest.raises(ValueError, match=r"got axis=0 and shape \(0,\)"):
        choose_qparams([], [], axis=0)
    with pytest.raises(TypeError, match="choose_qparams needs real numbers"):
        choose_qparams(False, 1.0)


@given(st.lists(real_ranges(), min_size=1, max_size=5), st.sampled_from(RANGES))
def test_each_channel_is_chosen_as_if_it_were_alone(real_ranges, to):
    low, high = np.array(real_ranges).T
    together = choose_qparams(low, high, to, axis=-1)
    alone = [choose_qparams(*real_range, to) for real_range in real_ranges]
    assert together.axis == -1 and together.codes == to
    assert together.scale.tolist() == [float(qparams.scale) for qparams in alone]
    assert together.zero_point.tolist() == [int(qparams.zero_point) for qparams in alone]


@given(real_ranges(1e30))
def test_int8_and_uint8_are_the_same_map_shifted_by_128(real_range):
    signed, unsigned = choose_qparams(*real_range, INT8), choose_qparams(*real_range, UINT8)
    assume(real_range != (0, 0))  # all-zero data get zero_point 0 in both
    assert signed.scale == unsigned.scale
    assert signed.zero_point + 128 == unsigned.zero_point
    x = np.linspace(*real_range, 50).astype(np.float32)
    assert np.array_equal(quantize(x, signed) + np.int16(128), quantize(x, unsigned))
    assert np.array_equal(fake_quantize(x, signed), fake_quantize(x, unsigned))


def test_int8_and_uint8_choose_the_same_zero_on_ties():
    # 1 / 34 * 255 is 7.5, and many tenths are as close to a tie as float64 can tell: all must fall alike
    low, high = (tenths.ravel() / 10 for tenths in np.meshgrid(np.arange(100), np.arange(1, 100)))
    signed, unsigned = (choose_qparams(-low, high, to, axis=0) for to in (INT8, UINT8))
    assert np.array_equal(signed.zero_point + 128, unsigned.zero_point)
    assert choose_qparams(-1.0, 33.0, INT8).zero_point == choose_qparams(-1.0, 33.0, UINT8).zero_point - 128


@given(st.floats(1e-30, 1e30), st.sampled_from(RANGES))
def test_a_range_as_long_below_0_as_above_has_the_zero_point_of_its_tie(a, to):
    # rmin / S is -127.5 for 8 bits: a tie, to be decided by the tie rule and not by a last bit of S
    assert choose_qparams(-a, a, to).zero_point == to.qmin - round(Fraction(to.qmin - to.qmax, 2))


# --- quantize: oracles in exact fractions


def nearest_float(value, dtype):
    """The float nearest to a quotient of two floats (rounding twice is harmless here: 53 >= 2 * 24 + 2)."""
    return Fraction(float(dtype(float(value))))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data(), qparams=some_qparams())
def test_codes_equal_exact_fractions(data, qparams, dtype):
    S, Z = Fraction(float(qparams.scale)), int(qparams.zero_point)
    nearby = st.integers(2 * (qparams.qmin - Z) - 3, 2 * (qparams.qmax - Z) + 3)  # codes and ties between
    # float32 of a code or a tie, and its neighbours
    beside = st.tuples(nearby, st.sampled_from([-np.inf, 0.0, np.inf])).map(
        lambda pair: float(np.nextafter(np.float32(float(pair[0] * S / 2)), np.float32(pair[1])))
    )
    anything = finite(np.dtype(dtype).itemsize * 8)
    x = data.draw(hnp.arrays(dtype, 6, elements=st.one_of(beside, anything)))
    for real, code in zip(x.tolist(), quantize(x, qparams).tolist(), strict=True):
        exact = Fraction(real) / S
        if abs(exact) > 10**6:  # far beyond every code
            assert code == (qparams.qmax if exact > 0 else qparams.qmin)
            continue
        # the contract: x / scale is rounded to a float first, then exactly half to even, then saturated
        steps = nearest_float(exact, dtype)
        assert code == min(max(round(steps) + Z, qparams.qmin), qparams.qmax)
        # so it is the code of the exact quotient, unless that is within a float's precision of a tie
        from_tie = abs(exact - math.floor(exact) - Fraction(1, 2))
        if from_tie > abs(exact) * Fraction(1, 2**24):
            assert code == min(max(round(exact) + Z, qparams.qmin), qparams.qmax)


@given(st.data(), some_qparams())
def test_integer_input_is_as_exact_as_its_float64(data, qparams):
    x = data.draw(hnp.arrays(st.sampled_from([np.int8, np.uint8, np.int32, np.int64, np.uint64]), 4))
    for real, code in zip(x.tolist(), quantize(x, qparams).tolist(), strict=True):
        steps = float(real) / float(qparams.scale)
        exact = round(steps) + int(qparams.zero_point) if abs(steps) < 1e9 else math.copysign(1e9, steps)
        assert code == min(max(exact, qparams.qmin), qparams.qmax)


@given(hnp.arrays(np.float16, 6, elements=st.floats(width=16, allow_nan=False, allow_infinity=False)))
def test_float16_is_computed_as_float32(x):
    qparams = QParams(0.37, 5)
    assert np.array_equal(quantize(x, qparams), quantize(x.astype(np.float32), qparams))


def test_the_dtype_of_x_decides_how_a_near_tie_falls():
    # 0.1 is stored as 0.100000001490116: 0.75 over it is 7.4999999, for which float32 has only 7.5
    codes = {
        dtype: int(quantize(dtype(0.75), QParams(0.1, 0))) for dtype in (np.float16, np.float32, np.float64)
    }
    assert codes == {np.float16: 8, np.float32: 8, np.float64: 7}


def test_long_doubles_and_swapped_bytes_are_computed_as_float64():
    x = np.array([0.5 + 1e-10, -1.5 - 1e-10, 3.0, 1e30])
    for dtype in (np.longdouble, ">f8", "<f8"):
        assert quantize(x.astype(dtype), QParams(1.0, 0)).tolist() == [1, -2, 3, 127]
    swapped = np.array([-2.5, 0.25, 7.0], ">f4")
    assert quantize(swapped, QParams(0.5, 0)).tolist() == [-5, 0, 14]
    assert dequantize(np.array([300, -2], ">i2"), QParams(0.5, 0, INT16)).tolist() == [150.0, -1.0]


# --- quantize: shapes, layouts, blocks


def naive(x, qparams):
    scale, zero_point = qparams.aligned_to(x.shape)
    return np.clip(np.rint(x / scale) + zero_point, qparams.qmin, qparams.qmax).astype(qparams.codes.dtype)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint16, np.int64])
@pytest.mark.parametrize("to", [INT4, INT8, UINT8, UINT16, IntRange(-1, 65535)])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (2, 3, 4)])
def test_codes_have_the_shape_of_x_and_the_smallest_dtype(shape, to, dtype):
    q = quantize(np.zeros(shape, dtype), QParams(0.5, 3, to))
    assert type(q) is np.ndarray and q.shape == shape and q.dtype == to.dtype
    assert (q == 3).all()
    x_hat = dequantize(q, QParams(0.5, 3, to))
    assert type(x_hat) is np.ndarray and x_hat.shape == shape and x_hat.dtype == np.float32


def test_lists_and_numbers_are_taken_as_arrays():
    assert quantize([[0.0, 1.0]], QParams(0.5, 0)).tolist() == [[0, 2]]
    assert quantize(1.0, QParams(0.5, 0)).shape == ()
    assert dequantize([0, 2], QParams(0.5, 0)).tolist() == [0.0, 1.0]


LAYOUTS = {
    "transposed": lambda x: x.T,
    "reversed": lambda x: x[::-1, :, ::-1],
    "every second": lambda x: x[:, ::2, ::2],
    "Fortran order": np.asfortranarray,
    "repeated": lambda x: np.broadcast_to(x[:1], x.shape),
    "moved axis": lambda x: np.moveaxis(x, 0, 1),
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1, -2, -3])
def test_memory_layout_changes_no_code(layout, axis):
    x = LAYOUTS[layout](np.random.default_rng(1).normal(size=(4, 6, 8)).astype(np.float32))
    channels = () if axis is None else x.shape[axis]
    rng = np.random.default_rng(2)
    qparams = QParams(rng.uniform(0.01, 0.1, channels), rng.integers(-128, 128, channels), axis=axis)
    q, before = quantize(x, qparams), x.copy()
    assert np.array_equal(q, naive(np.ascontiguousarray(x), qparams))
    assert np.array_equal(x, before)
    scale, zero_point = qparams.aligned_to(x.shape)
    x_hat = scale * (q.astype(np.float32) - zero_point.astype(np.float32))
    assert np.array_equal(dequantize(q, qparams), x_hat)
    assert np.array_equal(dequantize(q[:, ::-1], qparams), x_hat[:, ::-1]) or axis in (1, -2)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_each_channel_has_the_codes_it_would_have_alone(axis):
    x = np.random.default_rng(3).normal(size=(2, 3, 4)).astype(np.float32)
    channels = x.shape[axis]
    scale, zero_point = np.float32(np.arange(1, channels + 1) / 10), np.arange(channels) * 7
    qparams = QParams(scale, zero_point, axis=axis)
    q, x_hat = quantize(x, qparams), fake_quantize(x, qparams)
    for channel in range(channels):
        alone = QParams(scale[channel], zero_point[channel])
        part = np.take(x, channel, axis)
        assert np.array_equal(np.take(q, channel, axis), quantize(part, alone))
        assert np.array_equal(np.take(x_hat, channel, axis), fake_quantize(part, alone))


@pytest.mark.parametrize("size", [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_leave_no_seam(size, dtype):
    x = np.random.default_rng(size).normal(scale=60, size=size).astype(dtype)
    qparams = QParams(0.7, 11, UINT8)
    q = quantize(x, qparams)
    assert np.array_equal(q, naive(x, qparams))
    expected = np.float32(0.7) * (q.astype(np.float32) - np.float32(11))
    assert np.array_equal(dequantize(q, qparams), expected)


@pytest.mark.parametrize("axis", [0, 1])
def test_channels_that_straddle_blocks_keep_their_own_map(axis):
    shape = (5, BLOCK // 2 + 1)
    x = np.random.default_rng(4).normal(scale=9, size=shape).astype(np.float32)
    scale = np.random.default_rng(5).uniform(0.1, 1, shape[axis])
    qparams = QParams(scale, np.arange(shape[axis]) % 50, axis=axis)
    assert np.array_equal(quantize(x, qparams), naive(x, qparams))


# --- quantize: what it refuses


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_nan_and_infinity_are_refused_with_their_index(value, dtype):
    x = np.zeros((2, 3), dtype)
    x[1, 2] = value
    with pytest.raises(ValueError, match=rf"quantize needs finite numbers, got {value} at index \(1, 2\)"):
        quantize(x, QParams(0.5, 0))
    with pytest.raises(ValueError, match=r"at index \(2, 1\)"):
        fake_quantize(x.T, QParams(0.5, 0))
    with pytest.raises(ValueError, match=r"at index \(\)"):
        QTensor.from_real(dtype(value), QParams(0.5, 0))


def test_nan_is_found_in_every_block_and_beside_overflow():
    for index in (0, BLOCK - 1, BLOCK, 2 * BLOCK):
        x = np.zeros(2 * BLOCK + 1, np.float32)
        x[0] = 1e38  # its square overflows, and so does 1e38 / scale
        x[index] = np.nan
        with pytest.raises(ValueError, match=rf"got nan at index \({index},\)"):
            quantize(x, QParams(1e-30, 0))


@pytest.mark.parametrize("rounding_name", ["half even", "half away"])
def test_finite_numbers_whose_quotient_overflows_saturate(rounding_name):
    rounding = {"half even": np.rint, "half away": round_half_away}[rounding_name]
    x = np.array([LARGEST, -LARGEST, 1e30, 0.0])
    for dtype in (np.float32, np.float64):
        q = quantize(x.astype(dtype), QParams(1e-40, 3), rounding=rounding)
        assert q.tolist() == [127, -128, 127, 3]
    assert quantize(np.array([1e308, -1e308]), QParams(1e-40, 3), rounding=rounding).tolist() == [127, -128]


def test_the_callers_floating_point_settings_change_no_code():
    x = np.float32([1e-38, 1e38])  # the first over 500 is below float32, the second over 1e-40 beyond it
    with np.errstate(all="raise"):
        assert quantize(x, QParams(500.0, 3)).tolist() == [3, 127]
        assert quantize(x, QParams(1e-40, 3)).tolist() == [103, 127]
        assert dequantize([4, 3], QParams(1e-40, 3)).tolist() == [float(np.float32(1e-40)), 0.0]


@pytest.mark.parametrize("x", [[True], ["1"], [1j], [None], [2**70]])
def test_what_is_no_real_number_is_refused(x):
    with pytest.raises(TypeError, match=r"quantize needs real numbers \(float or integer dtype\), got dtype"):
        quantize(np.array(x), QParams(1.0, 0))


@pytest.mark.parametrize(
    "broken",
    [
        lambda x: x,
        lambda x: x * np.nan,
        lambda x: np.rint(x) + 1,
        lambda x: np.rint(x) - 1,
        lambda x: np.floor(x) + 1,
        np.zeros_like,
        lambda x: np.rint(x) + (x == 0),
        # right but for one stretch
        *[lambda x, low=low: np.where((low < x) & (x < low + 1), x, np.rint(x)) for low in (-3, -1, 0, 1)],
    ],
)
def test_a_rounding_that_does_not_round_is_refused(broken):
    with pytest.raises(ValueError, match="rounding must return the whole number below or above, got"):
        quantize(np.float32([1.0]), QParams(1.0, 0), rounding=broken)


@pytest.mark.parametrize(
    "integers",
    [
        lambda x: np.rint(x).astype(int),
        lambda x: np.rint(x).astype(object),
        np.vectorize(round),
        lambda x: np.rint(x).astype(np.float16),  # which does not hold 2049
    ],
)
def test_a_rounding_that_returns_no_floats_as_wide_as_its_own_is_refused(integers):
    for dtype in (np.float32, np.float64):
        for function in (quantize, fake_quantize, QTensor.from_real):
            message = f"rounding must return floats: for {np.dtype(dtype)} it returned (int64|object|float16)"
            with pytest.raises(TypeError, match=message):
                function(np.array([1.0], dtype), QParams(1.0, 0), rounding=integers)
    wider = quantize(
        np.float32([1.5, 2.5]), QParams(1.0, 0), rounding=lambda x: np.rint(x.astype(np.float64))
    )
    assert wider.tolist() == [2, 2]


def test_big_endian_float32_is_computed_in_float32():
    x = (np.arange(-127, 127, dtype=np.float32) + np.float32(0.5)) * np.float32(0.1)
    qparams = QParams(0.1, 0)
    assert (
        np.mean(quantize(x, qparams) != quantize(x.astype(np.float64), qparams)) > 0.4
    )  # ties in float32 alone
    for big in (x.astype(">f4"), x.astype(">f4")[::-1][::-1]):
        assert np.array_equal(quantize(big, qparams), quantize(x, qparams))
        assert np.array_equal(fake_quantize(big, qparams), fake_quantize(x, qparams))
        assert quantize(big, qparams).dtype.isnative and fake_quantize(big, qparams).dtype.isnative


@pytest.mark.parametrize(
    ("rmin", "rmax"), [(-1e-320, 1e37), (-5e-324, 5e-324), (-1e-320, 0.0), (0.0, 1e38), (-1e37, 1e-310)]
)
@pytest.mark.parametrize("symmetric", [True, False])
def test_the_callers_settings_change_no_choice(rmin, rmax, symmetric):
    expected = choose_qparams(rmin, rmax, symmetric=symmetric)
    with np.errstate(all="raise"):
        qparams = choose_qparams(rmin, rmax, symmetric=symmetric)
        assert set(np.geterr().values()) == {"raise"}
    assert (qparams.scale, qparams.zero_point) == (expected.scale, expected.zero_point)


@pytest.mark.parametrize("choice", [2, 1, 0, "no", None, np.array([True])])
def test_symmetric_is_true_or_false(choice):
    with pytest.raises(TypeError, match="symmetric must be True or False, got"):
        choose_qparams(-1.0, 2.0, symmetric=choice)


def test_an_axis_may_be_a_numpy_integer():
    for axis in (np.uint8(1), np.int64(-2)):
        qparams = QParams([1.0, 2.0], [0, 0], axis=axis)
        assert type(qparams.axis) is int and qparams.axis == axis
        assert quantize(np.ones((1, 2, 1)), qparams).ravel().tolist() == [1, 0]


# --- the round trip


@given(some_qparams())
def test_real_zero_survives_the_round_trip(qparams):
    for dtype in (np.float16, np.float32, np.float64, np.int8):
        zero = np.array([0, -0.0], dtype)
        assert quantize(zero, qparams).tolist() == [qparams.zero_point] * 2
        assert fake_quantize(zero, qparams).tolist() == [0, 0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data(), qparams=some_qparams())
def test_the_error_is_at_most_half_a_step_inside_the_limits(data, qparams, dtype):
    low, high = qparams.limits
    width = np.dtype(dtype).itemsize * 8
    x = data.draw(hnp.arrays(dtype, 6, elements=st.floats(low, high, width=width)))
    error = np.abs(fake_quantize(x, qparams).astype(np.float64) - x)
    # two float32 roundings, of x / scale and of scale * (q - zero_point), move each by at most 2**-24
    slack = 2**-23 * max(-low, high)
    assert (error <= float(qparams.scale) / 2 + slack).all()


@given(st.data(), some_qparams())
def test_beyond_the_limits_every_value_becomes_the_limit(data, qparams):
    low, high = qparams.limits
    beyond = data.draw(st.floats(1.01, 1e3))
    x = np.array([low * beyond - float(qparams.scale), high * beyond + float(qparams.scale)])
    assert fake_quantize(x, qparams).tolist() == [low, high]


def test_every_8_bit_code_survives_real_and_back_under_every_zero_point():
    for to in (INT8, UINT8, int_range(8, narrow=True)):
        q = np.arange(to.qmin, to.qmax + 1).astype(to.dtype)
        for scale in (1.0, 0.1, 1 / 3, 7e-5, SMALLEST_SCALE, TINIEST, 3 * TINIEST, 1.3e36):
            for zero_point in range(to.qmin, to.qmax + 1):
                qparams = QParams(scale, zero_point, to)
                assert np.array_equal(quantize(dequantize(q, qparams), qparams), q)


@given(some_qparams())
def test_every_code_survives_real_and_back(qparams):
    q = np.unique(np.linspace(qparams.qmin, qparams.qmax, 1000).round().astype(qparams.codes.dtype))
    x = dequantize(q, qparams)
    assert np.array_equal(quantize(x, qparams), q)
    assert np.array_equal(quantize(x.astype(np.float64), qparams), q)
    assert np.array_equal(fake_quantize(x, qparams), x)


@given(some_qparams(ranges=(INT8,)))
def test_a_uint8_map_is_the_int8_map_shifted_by_128(signed):
    unsigned = QParams(signed.scale, signed.zero_point + 128, UINT8)
    q = np.arange(-128, 128, dtype=np.int8)
    shifted = (q.astype(np.int16) + 128).astype(np.uint8)
    x = dequantize(q, signed)
    assert np.array_equal(x, dequantize(shifted, unsigned))
    x = np.append(x * np.float32(1.37), np.float32([1e38, -1e38]))
    assert np.array_equal(quantize(x, signed) + np.int16(128), quantize(x, unsigned))


@given(some_qparams())
def test_reals_equal_exact_fractions_rounded_once_to_float32(qparams):
    q = np.unique(
        [qparams.qmin, qparams.qmax, int(qparams.zero_point), 0 if qparams.qmin <= 0 else qparams.qmax]
    )
    S, Z = Fraction(float(qparams.scale)), int(qparams.zero_point)
    for dtype in (np.int32, np.int64, qparams.codes.dtype):
        x_hat = dequantize(q.astype(dtype), qparams)
        # a product of a 24-bit and a 17-bit integer is exact in float64, so this rounds once
        assert x_hat.tolist() == [float(np.float32(float(S * (int(code) - Z)))) for code in q]


@pytest.mark.parametrize("codes", [[0.0], [True], ["1"], [1j], [None]])
def test_codes_that_are_no_integers_are_refused(codes):
    with pytest.raises(TypeError, match="dequantize needs integers, got dtype"):
        dequantize(np.array(codes), QParams(1.0, 0))
    with pytest.raises(TypeError, match="QTensor needs integers, got dtype"):
        QTensor(np.array(codes), QParams(1.0, 0))


@pytest.mark.parametrize(
    ("codes", "got"),
    [([0, 128], "0..128"), ([-129], "-129"), ([2**40], f"{2**40}"), (np.uint64([200]), "200")],
)
def test_codes_outside_their_range_are_refused(codes, got):
    with pytest.raises(ValueError, match=f"dequantize needs integers in -128..127, got {got}"):
        dequantize(np.array(codes), QParams(1.0, 0))
    with pytest.raises(ValueError, match=r"QTensor needs integers in -128..127, got"):
        QTensor(np.array(codes), QParams(1.0, 0))
    with pytest.raises(ValueError, match=r"needs integers in -8..7, got -9..0"):
        dequantize(np.int8([0, -9]), QParams(1.0, 0, INT4))
    for outside in (np.uint8([0]), np.int8([1]), np.uint8([255])):  # one end of the dtype fits, one does not
        with pytest.raises(ValueError, match=r"needs integers in 2..200, got"):
            dequantize(outside, QParams(1.0, 5, IntRange(2, 200)))
    for outside, to in [(np.uint8([0]), IntRange(1, 255)), (np.int8([-128]), IntRange(-127, 127))]:
        with pytest.raises(ValueError, match="dequantize needs integers in"):
            dequantize(outside, QParams(1.0, 5, to))


# --- QTensor


def test_a_qtensor_keeps_its_own_codes():
    q = np.array([1, -2, 3])
    x = QTensor(q, QParams(0.5, 0, INT4))
    q[0] = 7
    assert x.q.tolist() == [1, -2, 3] and x.q.dtype == np.int8
    assert x.real.tolist() == [0.5, -1.0, 1.5] and x.real.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        x.q[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        x.q = q


@given(hnp.arrays(np.float32, (2, 3), elements=st.floats(-100, 100, width=32)))
def test_a_qtensor_is_the_codes_and_the_map_together(x):
    qparams = QParams([0.5, 1.0, 2.0], [0, 1, 2], axis=1)
    tensor = QTensor.from_real(x, qparams)
    assert tensor.qparams is qparams
    assert np.array_equal(tensor.q, quantize(x, qparams))
    assert np.array_equal(tensor.real, fake_quantize(x, qparams))
