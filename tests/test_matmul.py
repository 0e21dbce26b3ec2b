"""qtutor/matmul.py: exact int32 accumulators, the four terms, and the bits that a sum needs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qtutor import INT4, INT8, UINT8, IntRange, accumulator_bits, int_range, integer_matmul, matmul_terms

INT32_MAX = 2**31 - 1
DTYPES = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64, np.uint64]


def exact_matmul(q1, q2, Z1, Z2):
    """The definition, in Python integers: no width, no float, no BLAS."""
    Z1, Z2 = np.broadcast_to(Z1, q1.shape).tolist(), np.broadcast_to(Z2, q2.shape).tolist()
    q1, q2 = q1.tolist(), q2.tolist()
    K = range(len(q2))
    return [
        [sum((row[k] - Z1[m][k]) * (q2[k][n] - Z2[k][n]) for k in K) for n in range(len(q2[0]))]
        for m, row in enumerate(q1)
    ]


@st.composite
def two_matrices(draw):
    M, K, N = (draw(st.integers(1, 4)) for _ in range(3))
    codes = st.sampled_from([INT8, UINT8, INT4, int_range(12)])
    operands = []
    for shape in ((M, K), (K, N)):
        to = draw(codes)
        q = draw(hnp.arrays(to.dtype, shape, elements=st.integers(to.qmin, to.qmax)))
        operands += [q, draw(st.integers(to.qmin, to.qmax))]
    return operands[0], operands[2], operands[1], operands[3]


# --- hand-checkable cases


def test_the_product_is_that_of_the_onnx_example():
    # ONNX MatMulInteger, its example: the zero-point of A is 12
    A = np.uint8([[11, 7, 3], [10, 6, 2], [9, 5, 1], [8, 4, 0]])
    B = np.uint8([[1, 4], [2, 5], [3, 6]])
    assert integer_matmul(A, B, 12, 0).tolist() == [[-38, -83], [-44, -98], [-50, -113], [-56, -128]]


def test_the_four_terms_by_hand():
    # (3 - 1)(5 - 2) + (4 - 1)(7 - 2) = 21
    terms = matmul_terms(np.uint8([[3, 4]]), np.uint8([[5], [7]]), 1, 2)
    assert terms.product.item() == 3 * 5 + 4 * 7
    assert terms.row.item() == 2 * (3 + 4)
    assert terms.column.item() == 1 * (5 + 7)
    assert terms.constant.item() == 2 * 1 * 2
    assert 43 - 14 - 12 + 4 == 21 == integer_matmul(np.uint8([[3, 4]]), np.uint8([[5], [7]]), 1, 2).item()


def test_products_that_wrap_in_int8_and_int16_do_not_wrap_here():
    q = np.full((1, 3), -128, np.int8)
    assert integer_matmul(q, q.T).item() == 3 * 128 * 128
    assert (q @ q.T).item() == 0  # NumPy accumulates int8 in int8
    assert integer_matmul(np.full((1, 4), 255, np.uint8), np.full((4, 1), 255, np.uint8)).item() == 260_100
    assert integer_matmul(np.uint8([[0]]), np.uint8([[0]]), 255, 255).item() == 65_025  # 0 - 255, not 1


@pytest.mark.parametrize(
    ("K", "range1", "range2", "bits"),
    [
        (1, INT8, INT8, 16),  # 128 * 128 = 2**14 needs 16 bits, since int15 ends at 2**14 - 1
        (1, int_range(8, narrow=True), INT8, 15),  # 127 * 128 < 2**14: what the narrow range buys
        (2, int_range(8, narrow=True), INT8, 16),
        (1, UINT8, UINT8, 17),
        (2**16, INT8, INT8, 32),
        (2**17, INT8, INT8, 33),
        (1, INT4, INT4, 8),
        (1, IntRange(-2, -1), IntRange(1, 2), 3),  # -4 .. -1
        (1, IntRange(0, 1), IntRange(-1, 0), 1),  # -1 .. 0: one bit, two's complement
        (1, IntRange(1, 2), IntRange(1, 2), 4),
    ],
)
def test_accumulator_bits_by_hand(K, range1, range2, bits):
    assert accumulator_bits(K, range1, range2) == bits


# --- oracle: Python integers


@given(two_matrices())
def test_accumulators_equal_python_integers(operands):
    acc = integer_matmul(*operands)
    assert acc.dtype == np.int32
    assert acc.tolist() == exact_matmul(*operands)


@given(two_matrices())
def test_the_four_terms_make_the_product(operands):
    q1, q2, Z1, Z2 = operands
    terms = matmul_terms(*operands)
    (M, K), N = q1.shape, q2.shape[1]
    assert [term.shape for term in terms] == [(M, N), (M, 1), (1, N), (1, 1)]
    assert all(term.dtype == np.int32 for term in terms)
    assert terms.product.tolist() == exact_matmul(q1, q2, 0, 0)
    assert terms.row.ravel().tolist() == [Z2 * sum(row) for row in q1.tolist()]
    assert terms.column.ravel().tolist() == [Z1 * sum(column) for column in q2.T.tolist()]
    assert terms.constant.item() == K * Z1 * Z2
    together = terms.product - terms.row - terms.column + terms.constant
    assert np.array_equal(together, integer_matmul(*operands))


@given(two_matrices(), st.data())
def test_each_row_and_column_may_have_its_own_zero_point(operands, data):
    q1, q2, *_ = operands
    Z1 = data.draw(hnp.arrays(np.int32, (len(q1), 1), elements=st.integers(-128, 255)))
    Z2 = data.draw(hnp.arrays(np.int16, (1, q2.shape[1]), elements=st.integers(-128, 255)))
    assert integer_matmul(q1, q2, Z1, Z2).tolist() == exact_matmul(q1, q2, Z1, Z2)
    assert integer_matmul(q1, q2, Z1, Z2.ravel()).tolist() == exact_matmul(q1, q2, Z1, Z2)


@pytest.mark.parametrize("dtype1", DTYPES)
@pytest.mark.parametrize("dtype2", [np.int8, np.uint8, np.int64])
def test_the_storage_of_the_codes_changes_nothing(dtype1, dtype2):
    q1, q2 = np.array([[100, 27, 3], [0, 127, 90]]), np.array([[1, 120], [99, 0], [127, 5]])
    expected = exact_matmul(q1, q2, 5, 7)
    assert integer_matmul(q1.astype(dtype1), q2.astype(dtype2), 5, 7).tolist() == expected
    assert integer_matmul(np.asfortranarray(q1.astype(dtype1)), q2.astype(dtype2), 5, 7).tolist() == expected
    wide = np.repeat(q1.astype(dtype1), 2, axis=1)[:, ::2]
    assert integer_matmul(wide, q2.astype(dtype2)[::-1][::-1], 5, np.uint8(7)).tolist() == expected


def test_stacks_of_matrices_multiply_one_by_one():
    rng = np.random.default_rng(0)
    q1, q2 = rng.integers(-128, 128, (2, 3, 4, 5)), rng.integers(0, 256, (3, 5, 6))
    acc = integer_matmul(q1, q2, 3, 128)
    assert acc.shape == (2, 3, 4, 6)
    for i in range(2):
        for j in range(3):
            assert acc[i, j].tolist() == exact_matmul(q1[i, j], q2[j], 3, 128)


def test_large_matrices_equal_int64():
    rng = np.random.default_rng(1)
    for K in (1, 257, 258, 259, 516, 2000):  # 2**24 // 255**2 = 258 terms a block
        q1, q2 = rng.integers(0, 256, (17, K), np.uint8), rng.integers(0, 256, (K, 19), np.uint8)
        q1[0], q2[:, 0] = 0, 255  # every product is -255 * 255 or +255 * 255
        Z1, Z2 = 255, 0
        expected = (q1.astype(np.int64) - Z1) @ (q2.astype(np.int64) - Z2)
        assert np.array_equal(integer_matmul(q1, q2, Z1, Z2), expected)


@pytest.mark.parametrize(
    ("shape1", "shape2", "shape"),
    [
        ((0, 3), (3, 2), (0, 2)),
        ((2, 3), (3, 0), (2, 0)),
        ((0, 3), (3, 0), (0, 0)),
        ((4, 0, 3), (3, 2), (4, 0, 2)),
        ((0, 2, 3), (3, 2), (0, 2, 2)),
    ],
)
def test_an_empty_batch_has_empty_accumulators(shape1, shape2, shape):
    q1, q2 = np.ones(shape1, np.uint8), np.ones(shape2, np.int8)
    for acc in (integer_matmul(q1, q2, 3, 4), integer_matmul(q1, q2, np.ones(shape1, int), 70_000 // 2)):
        assert acc.shape == shape and acc.dtype == np.int32
    terms = matmul_terms(q1, q2, 3, 4)
    assert terms.product.shape == shape and terms.constant.item() == 3 * 3 * 4
    assert terms.row.shape == (*shape1[:-1], 1) and terms.column.shape == (1, shape2[-1])
    assert (terms.product - terms.row - terms.column + terms.constant).shape == shape
    assert all(term.dtype == np.int32 for term in terms)


def test_a_sum_of_no_products_is_refused_by_name():
    q1, q2 = np.zeros((2, 0), np.int8), np.zeros((0, 3), np.int8)
    message = r" cannot multiply shapes \(2, 0\) and \(0, 3\): K must be at least 1"
    with pytest.raises(ValueError, match=f"^integer_matmul{message}"):
        integer_matmul(q1, q2)
    with pytest.raises(ValueError, match=f"^matmul_terms{message}"):
        matmul_terms(q1, q2, 0, 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_counts_and_zero_points_may_be_numpy_integers(dtype):
    q1, q2 = np.int8([[100, -100]]), np.int8([[-100], [100]])
    assert integer_matmul(q1, q2, dtype(100), dtype(100)).item() == 0 * -200 + -200 * 0
    assert matmul_terms(q1, q2, dtype(100), dtype(100)).constant.item() == 2 * 100 * 100
    assert accumulator_bits(dtype(100), INT8, INT8) == accumulator_bits(100, INT8, INT8)


# --- the bounds


@pytest.mark.parametrize(
    ("factor1", "factor2"), [(4096, 4096), (4095, 4097), (255, 255), (128, 255), (15, 128)]
)
def test_sums_at_the_bound_of_a_block_are_exact(factor1, factor2):
    terms = 2**24 // (factor1 * factor2)  # so many make the largest sum that a float32 block may reach
    for K in (terms, terms + 1, 2 * terms + 1):
        q1, q2 = np.full((2, K), factor1), np.full((K, 2), factor2)
        q1[1, -1], q2[-1, 1] = factor1 - 1, 1 - factor2  # odd last terms: a sum beyond 2**24 would drop them
        expected = q1.astype(np.int64) @ q2.astype(np.int64)
        assert np.array_equal(integer_matmul(q1, q2), expected)
        assert np.array_equal(integer_matmul(-q1, q2), -expected)


def test_every_sum_around_two_to_the_24_is_exact():
    # 4096 * 4096 = 2**24 is the last product that float32 blocks may carry; 2**24 + 1 has no float32
    q1 = np.array([[4096, 1, 1, 1]])
    for last in range(4):
        q2 = np.array([[4096], [1], [last], [-1]])
        assert integer_matmul(q1, q2).item() == 2**24 + last
    for a, b in [(4097, 4095), (4097, 4096), (4097, 4097), (32767, 257), (32767, 513), (32767, 32767)]:
        assert integer_matmul(np.array([[a]]), np.array([[b]])).item() == a * b
        assert integer_matmul(np.array([[-a, 1]]), np.array([[b - 1], [1]])).item() == 1 - a * (b - 1)


def test_sixteen_bit_products_are_exact_up_to_int32():
    assert integer_matmul(np.int16([[-32768]]), np.uint16([[65535]])).item() == -32768 * 65535
    assert integer_matmul(np.int16([[32767, 32767]]), np.int16([[32767], [1]])).item() == 32767 * 32768
    q1, q2 = np.int16([[32767, 32767, 3]]), np.int16([[20_001], [12_345], [1]])
    assert integer_matmul(q1, q2).item() == 32767 * 32346 + 3


@pytest.mark.parametrize(
    ("K", "largest1", "largest2"),
    [(33_026, 255, 255), (131_072, 128, 128), (1, 65535, 32769), (2, 32768, 32768), (133_145, 127, 127)],
)
def test_a_sum_that_might_pass_int32_is_refused_before_it_is_computed(K, largest1, largest2):
    bound = K * largest1 * largest2
    assert bound > INT32_MAX >= (K - 1) * largest1 * largest2
    q1, q2 = np.zeros((1, K), np.int32), np.zeros((K, 1), np.int32)
    q1[0, 0], q2[-1, 0] = largest1, largest2
    # this sum is 0, but the bound knows only K and the largest factors, so it refuses
    with pytest.raises(
        ValueError, match=rf"= {K} \* {largest1} \* {largest2} = {bound}, allowed is {INT32_MAX}"
    ):
        integer_matmul(q1, q2)
    if K > 1:
        assert integer_matmul(q1[:, :-1], q2[:-1]).item() == 0  # one term fewer is allowed


def test_eight_bit_codes_do_not_wrap_under_a_zero_point_of_16_bits():
    one = np.int8([[1]])
    for q in (np.int8([[-128]]), np.int8([[127]]), np.uint8([[0]]), np.uint8([[255]])):
        for Z in (-(2**15), 2**14 - 1, 2**14, 2**15 - 1, 2**15, 2**16 - 1):
            assert integer_matmul(q, one, Z).item() == integer_matmul(one, q, 0, Z).item() == q.item() - Z


def test_eight_bit_codes_are_carried_by_float32_and_wide_ones_by_float64(monkeypatch):
    carriers = []

    def matmul(a, b):
        carriers.append((a.dtype, b.dtype))
        return a @ b

    monkeypatch.setattr("qtutor.matmul.np.matmul", matmul)
    q = np.full((2, 2), 255, np.uint8)
    integer_matmul(q, q)
    integer_matmul(q.astype(np.int64) * 50, q)
    integer_matmul(np.array([[4096]]), np.array([[4096]]))  # 2**24, the last one
    integer_matmul(np.array([[4096]]), np.array([[4097]]))
    assert carriers == [(np.float32, np.float32)] * 3 + [(np.float64, np.float64)]


def test_the_bound_counts_the_zero_points():
    q = np.full((1, 40_000), 127, np.int8)
    assert integer_matmul(q, q.T).item() == 40_000 * 127 * 127
    assert integer_matmul(q, q.T, 126, -128).item() == 40_000 * 255
    for Z1, Z2 in [(-128, -128), (382, 382), (-128, 382)]:
        for stack in (q, q[np.newaxis]):
            with pytest.raises(ValueError, match=r"= 40000 \* 255 \* 255 = 2601000000"):
                integer_matmul(stack, q.T, Z1, Z2)


def test_terms_that_fit_but_whose_sum_does_not_are_refused():
    q = np.full((1, 40_000), 127, np.int8)
    with pytest.raises(ValueError, match=r"= 40000 \* 255 \* 255 = 2601000000, allowed is 2147483647"):
        matmul_terms(q, q.T, -128, -128)
    with pytest.raises(ValueError, match=r"might pass int32"):  # here a term: 127 * 60000 * 300
        matmul_terms(np.full((1, 60_000), 127, np.int8), np.full((60_000, 1), 300, np.int16), 127, 300)


@given(
    st.integers(1, 10**6),
    *[st.tuples(st.integers(-300, 300), st.integers(1, 300)).map(lambda p: IntRange(p[0], p[0] + p[1]))] * 2,
)
def test_accumulator_bits_are_enough_and_not_one_too_many(K, range1, range2):
    bits = accumulator_bits(K, range1, range2)
    corners = [a * b for a in (range1.qmin, range1.qmax) for b in (range2.qmin, range2.qmax)]
    sums = [count * corner for count in (1, K) for corner in corners]  # each is reached
    assert all(-(2 ** (bits - 1)) <= s < 2 ** (bits - 1) for s in sums)
    assert bits == 1 or not all(-(2 ** (bits - 2)) <= s < 2 ** (bits - 2) for s in sums)


# --- what is refused


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.bool_, np.complex64])
def test_factors_that_are_no_integers_are_refused(dtype):
    q, x = np.ones((2, 2), np.int8), np.ones((2, 2), dtype)
    with pytest.raises(TypeError, match=f"q1 of integer_matmul needs integers, got dtype {np.dtype(dtype)}"):
        integer_matmul(x, q)
    with pytest.raises(TypeError, match=f"^q1 of matmul_terms needs integers, got dtype {np.dtype(dtype)}"):
        matmul_terms(x, q, 0, 0)
    with pytest.raises(TypeError, match=f"^q2 of matmul_terms needs integers, got dtype {np.dtype(dtype)}"):
        matmul_terms(q, x, 0, 0)
    with pytest.raises(TypeError, match=r"zero_point1 of integer_matmul needs integers, got dtype"):
        integer_matmul(q, q, dtype(1))
    with pytest.raises(TypeError, match=r"^zero_point1 of matmul_terms needs integers, got dtype"):
        matmul_terms(q, q, dtype(1), 0)
    with pytest.raises(TypeError, match=r"^zero_point2 of matmul_terms needs integers, got dtype"):
        matmul_terms(q, q, 0, dtype(1))


def test_codes_and_zero_points_wider_than_16_bits_are_refused():
    q = np.ones((1, 1), np.int64)
    for value, got in [(2**16, f"0..{2**16}"), (-(2**15) - 1, f"{-(2**15) - 1}..0"), (2**40, f"0..{2**40}")]:
        for dtype in (np.int32, np.int64) if value < 2**31 else (np.int64,):
            with pytest.raises(
                ValueError, match=rf"q1 of integer_matmul needs integers in -32768\.\.65535, got {got}"
            ):
                integer_matmul(np.array([[value, 0]], dtype), np.ones((2, 1), np.int8))
        with pytest.raises(
            ValueError, match=rf"q2 of integer_matmul needs integers in -32768\.\.65535, got {got}"
        ):
            integer_matmul(q, np.array([[0, value]]))
        with pytest.raises(
            ValueError, match=rf"zero_point2 of integer_matmul needs integers in -32768..65535, got {value}"
        ):
            integer_matmul(q, q, 0, value)
    assert integer_matmul(np.array([[2**16 - 1]]), q).item() == 65535
    assert integer_matmul(q, np.array([[-(2**15)]])).item() == -32768
    assert integer_matmul(q, q, 65535, 0).item() == -65534 and integer_matmul(q, q, 0, -32768).item() == 32769


@pytest.mark.parametrize(("shape1", "shape2"), [((2, 3), (2, 3)), ((1, 2), (1, 2)), ((4, 2, 3), (4, 2, 5))])
def test_shapes_that_do_not_fit_are_refused(shape1, shape2):
    with pytest.raises(ValueError, match="K differs"):
        integer_matmul(np.ones(shape1, np.int8), np.ones(shape2, np.int8))
    with pytest.raises(ValueError, match="K differs"):
        matmul_terms(np.ones(shape1, np.int8), np.ones(shape2, np.int8), 1, 1)


@pytest.mark.parametrize("shape", [(), (3,), (0,)])
def test_what_is_no_matrix_is_refused(shape):
    q, matrix = np.zeros(shape, np.int8), np.zeros((3, 3), np.int8)
    with pytest.raises(
        ValueError, match=r"q1 of integer_matmul needs a matrix, shape \(..., rows, columns\), got shape"
    ):
        integer_matmul(q, matrix)
    with pytest.raises(ValueError, match=r"q2 of integer_matmul needs a matrix"):
        integer_matmul(matrix, q)


@pytest.mark.parametrize(
    "Z", [np.zeros((3, 1), int), np.zeros((1, 5), int), np.zeros((2, 2, 2), int), np.zeros(0, int)]
)
def test_zero_points_that_do_not_broadcast_are_refused(Z):
    q = np.ones((2, 2), np.int8)
    with pytest.raises(
        ValueError, match=r"zero_point1 of integer_matmul has shape .* does not broadcast to shape"
    ):
        integer_matmul(q, q, Z)
    with pytest.raises(
        ValueError, match=r"zero_point2 of integer_matmul has shape .* does not broadcast to shape"
    ):
        integer_matmul(q, q, 0, Z)
    with pytest.raises(ValueError, match=r"does not broadcast to shape \(\)"):
        matmul_terms(q, q, 0, Z)


@pytest.mark.parametrize("K", [0, -1, 1.0, True, None, "3"])
def test_a_count_that_is_none_is_refused(K):
    with pytest.raises(ValueError, match="K must be an integer >= 1, got"):
        accumulator_bits(K, INT8, INT8)
