"""qtutor/models: the digits, the network, its weights, and the script that trained them."""

import subprocess
import sys

import numpy as np
import pytest

import qtutor as qt
from qtutor.graph import EPSILON, Conv, convolve, forward, weight_shapes
from qtutor.models.digits import CNN, load_digits, load_weights, make_digits, to_input, train

DIGITS = load_digits()
WEIGHTS = load_weights()
BATCH_NORM = ("gamma", "beta", "mean", "variance")


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    """Every tensor of the training digits."""
    return forward(CNN, WEIGHTS, to_input(DIGITS.images[DIGITS.train]))


# --- the digits


def test_the_digits_are_those_that_uci_describes() -> None:
    assert DIGITS.images.shape == (1797, 8, 8) and DIGITS.images.dtype == np.uint8
    assert DIGITS.images.min() == 0 and DIGITS.images.max() == 16
    assert DIGITS.images.sum(dtype=int) == 561_718  # as of scikit-learn's copy of the same table
    assert DIGITS.labels.shape == (1797,) and DIGITS.labels.dtype == np.int64
    # "Class: No of examples in testing set", in the data set's own description
    assert np.bincount(DIGITS.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_each_digit_belongs_to_exactly_one_split() -> None:
    together = np.concatenate([DIGITS.train, DIGITS.validation, DIGITS.test])
    assert np.array_equal(np.sort(together), np.arange(1797))
    assert (len(DIGITS.train), len(DIGITS.validation), len(DIGITS.test)) == (1018, 180, 599)
    assert all(indices.dtype == np.int64 for indices in DIGITS[2:])


def test_every_split_holds_every_class() -> None:
    for indices in (DIGITS.train, DIGITS.validation, DIGITS.test):
        share = np.bincount(DIGITS.labels[indices], minlength=10) / len(indices)
        assert share.min() > 0.05 and share.max() < 0.15


def test_no_image_of_the_test_split_is_also_in_another_split() -> None:
    flat = DIGITS.images.reshape(1797, 64)
    elsewhere = {image.tobytes() for image in flat[np.concatenate([DIGITS.train, DIGITS.validation])]}
    assert not any(image.tobytes() in elsewhere for image in flat[DIGITS.test])


def test_the_script_makes_the_shipped_digits_from_the_table(tmp_path) -> None:
    table = tmp_path / "optdigits.tes"
    np.savetxt(table, np.column_stack([DIGITS.images.reshape(1797, 64), DIGITS.labels]), "%d", ",")
    images, labels = make_digits.read_digits(table)
    assert np.array_equal(images, DIGITS.images) and images.dtype == np.uint8
    assert np.array_equal(labels, DIGITS.labels)
    for name, indices in make_digits.split(1797).items():
        assert np.array_equal(indices, getattr(DIGITS, name))


@pytest.mark.parametrize("pixel", ["17", "-1", "0.5", "nan"])
def test_the_script_refuses_what_is_no_pixel(tmp_path, pixel) -> None:
    table = tmp_path / "wrong.csv"
    table.write_text("\n".join([",".join([pixel] + ["0"] * 64)] * 1797), encoding="ascii")
    with pytest.raises(ValueError, match=r"wrong\.csv must hold integer pixels 0\.\.16"):
        make_digits.read_digits(table)


def test_the_script_refuses_the_other_part_of_the_data_set(tmp_path) -> None:
    table = tmp_path / "optdigits.tra"
    table.write_text("\n".join([",".join(["0"] * 65)] * 3823), encoding="ascii")
    with pytest.raises(ValueError, match=r"must be the test part.*got \(3823, 65\)"):
        make_digits.read_digits(table)


def test_data_cannot_be_changed_by_accident() -> None:
    for array in [*DIGITS, *WEIGHTS.values()]:
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_loading_needs_neither_matplotlib_nor_tqdm() -> None:
    code = "import sys, qtutor.models.digits; print({'matplotlib', 'tqdm'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


# --- the network


def test_the_weights_are_those_that_the_architecture_names() -> None:
    assert {name: w.shape for name, w in WEIGHTS.items()} == weight_shapes(CNN)
    assert all(w.dtype == np.float32 and np.isfinite(w).all() for w in WEIGHTS.values())
    trained = [w.size for name, w in WEIGHTS.items() if not name.endswith(("mean", "variance"))]
    assert sum(trained) == 6082


def test_forward_returns_every_tensor_in_order() -> None:
    tensors = forward(CNN, WEIGHTS, to_input(DIGITS.images[:3]))
    assert {name: x.shape for name, x in tensors.items()} == {
        "input": (3, 1, 8, 8),
        "stem": (3, 24, 8, 8),
        "block1.depthwise": (3, 24, 8, 8),
        "block1.pointwise": (3, 24, 8, 8),
        "block1.add": (3, 24, 8, 8),
        "down.depthwise": (3, 24, 4, 4),
        "down.pointwise": (3, 48, 4, 4),
        "block2.depthwise": (3, 48, 4, 4),
        "block2.pointwise": (3, 48, 4, 4),
        "block2.add": (3, 48, 4, 4),
        "pool": (3, 48),
        "logits": (3, 10),
    }
    assert list(tensors) == ["input"] + [layer.name for layer in CNN.nodes]
    assert all(x.dtype == np.float32 for x in tensors.values())


def test_each_block_adds_its_own_input(tensors) -> None:
    for block, skip in {"block1": "stem", "block2": "down.pointwise"}.items():
        assert np.array_equal(tensors[f"{block}.add"], tensors[f"{block}.pointwise"] + tensors[skip])


def test_batch_norms_know_the_statistics_of_the_training_digits(tensors) -> None:
    """No activation follows the last batch norm of a block: its output has mean beta and deviation |gamma|.

    Not exactly: while the network was trained, its digits were shifted and its statistics were averaging.
    """
    for name in ("block1.pointwise", "block2.pointwise"):
        x, gamma, beta = tensors[name], np.abs(WEIGHTS[f"{name}.gamma"]), WEIGHTS[f"{name}.beta"]
        assert np.abs((x.mean(axis=(0, 2, 3)) - beta) / gamma).max() < 0.25, name
        assert np.abs(x.std(axis=(0, 2, 3)) / gamma - 1).max() < 0.25, name


def test_the_weights_reach_98_percent_on_a_split_that_chose_nothing() -> None:
    assert train.accuracy(WEIGHTS, DIGITS, DIGITS.test) >= 0.98


@pytest.mark.parametrize("layer", [layer for layer in CNN.nodes if isinstance(layer, Conv)], ids=str)
def test_convolution_equals_its_definition_in_loops(layer) -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(-9, 10, (2, layer.in_channels, 4, 4))
    weight = rng.integers(-9, 10, weight_shapes(CNN)[f"{layer.name}.weight"])
    y = convolve(x, weight, layer)
    size, edge = 4 // layer.stride, layer.kernel // 2
    assert y.shape == (2, layer.out_channels, size, size)
    for n, o, h, w in rng.integers(0, y.shape, (40, 4)):
        expected = 0  # a Python integer: exact
        for c, i, j in np.ndindex(weight.shape[1:]):
            row, column = layer.stride * h + i - edge, layer.stride * w + j - edge
            if 0 <= row < 4 and 0 <= column < 4:  # else the padding, which is 0
                expected += int(weight[o, c, i, j]) * int(x[n, o if layer.depthwise else c, row, column])
        assert y[n, o, h, w] == expected


def test_folding_the_batch_norms_into_the_convolutions_changes_nothing() -> None:
    """gamma * (W*x - mean) / std + beta = (f*W) * x + (beta - f*mean) with f = gamma / std.

    Source: Jacob et al. 2018, arXiv:1712.05877, section 3.2.
    """
    folded = dict(WEIGHTS)
    for layer in CNN.nodes:
        if isinstance(layer, Conv):
            gamma, beta, mean, variance = (WEIGHTS[f"{layer.name}.{v}"] for v in BATCH_NORM)
            factor = gamma / np.sqrt(variance + EPSILON)
            folded[f"{layer.name}.weight"] = WEIGHTS[f"{layer.name}.weight"] * factor[:, None, None, None]
            folded[f"{layer.name}.beta"] = beta - factor * mean
            folded[f"{layer.name}.gamma"] = np.ones_like(gamma)
            folded[f"{layer.name}.mean"] = np.zeros_like(mean)
            folded[f"{layer.name}.variance"] = np.full_like(variance, 1 - EPSILON)
    x = to_input(DIGITS.images[DIGITS.validation])
    exact, again = forward(CNN, WEIGHTS, x), forward(CNN, folded, x)
    for name, x in exact.items():
        assert np.abs(x - again[name]).max() < 1e-4 * np.abs(x).max(), name


def test_no_channel_is_dead(tensors) -> None:
    """A dead channel has a folded scale near 0; its int32 bias overflows and its shift runs away."""
    for layer in CNN.nodes:
        if isinstance(layer, Conv):
            gamma, variance = WEIGHTS[f"{layer.name}.gamma"], WEIGHTS[f"{layer.name}.variance"]
            factor = np.abs(gamma) / np.sqrt(variance + EPSILON)
            largest = factor * np.abs(WEIGHTS[f"{layer.name}.weight"]).max(axis=(1, 2, 3))
            assert largest.min() > 1e-3 * largest.max(), layer.name
            assert tensors[layer.name].std(axis=(0, 2, 3)).min() > 0, layer.name


@pytest.mark.parametrize("name", [layer.name for layer in CNN.nodes])
def test_zero_points_are_neither_0_nor_at_an_end_of_the_range(name, tensors) -> None:
    """So that what a chapter shows about zero-points is shown on a zero-point that matters."""
    qparams = qt.choose_qparams(tensors[name].min(), tensors[name].max())
    assert -128 < qparams.zero_point < 127
    assert qparams.zero_point != 0


def test_the_input_is_exact_with_one_code_for_each_pixel_value(tensors) -> None:
    qparams = qt.QParams(1 / 16, -128)
    assert np.array_equal(qt.fake_quantize(tensors["input"], qparams), tensors["input"])


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros((2, 8, 8), np.float32), TypeError, "integers 0..16, got float32"),
        (np.zeros((8, 8), np.uint8), ValueError, r"shape \(n, 8, 8\), got \(8, 8\)"),
        (np.zeros((2, 1, 8, 8), np.uint8), ValueError, r"got \(2, 1, 8, 8\)"),
        (np.full((2, 8, 8), 255, np.uint8), ValueError, r"0\.\.16, got 255\.\.255"),
        (np.full((2, 8, 8), -1), ValueError, r"0\.\.16, got -1\.\.-1"),
    ],
)
def test_images_on_another_scale_are_refused(images, error, message) -> None:
    with pytest.raises(error, match=message):
        to_input(images)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"stem.weight": np.zeros((24, 1, 3, 3))}, "float32 of shape .24, 1, 3, 3., got float64"),
        ({"logits.bias": np.zeros(1, np.float32)}, r"'logits.bias'.*\(10,\), got float32 of shape \(1,\)"),
    ],
)
def test_weights_of_another_network_are_refused(changed, message) -> None:
    with pytest.raises(ValueError, match=message):
        forward(CNN, WEIGHTS | changed, to_input(DIGITS.images[:1]))


def test_a_missing_weight_is_named() -> None:
    weights = {name: w for name, w in WEIGHTS.items() if name != "down.pointwise.gamma"}
    with pytest.raises(ValueError, match=r"weights lack 'down\.pointwise\.gamma'"):
        forward(CNN, weights, to_input(DIGITS.images[:1]))


# --- the training


def test_gradients_equal_finite_differences() -> None:
    rng = np.random.default_rng(2)
    weights = {name: w.astype(np.float64) for name, w in train.initial_weights(rng).items()}
    for w in weights.values():  # away from 0 and 1, where a forgotten factor would hide
        w += 0.1 * rng.normal(size=w.shape)
    x, labels = rng.normal(size=(4, 1, 8, 8)), np.array([3, 1, 4, 1])
    _, gradients, _ = train.loss_and_gradients(weights, x, labels)
    trained = [name for name in weight_shapes(CNN) if not name.endswith(("mean", "variance"))]
    assert sorted(gradients) == sorted(trained)
    step = 1e-6
    for name in trained:
        # one random direction tests all the numbers of an array at once
        direction = rng.normal(size=weights[name].shape)
        losses = [
            train.loss_and_gradients(weights | {name: weights[name] + h * direction}, x, labels)[0]
            for h in (step, -step)
        ]
        numeric = (losses[0] - losses[1]) / (2 * step)
        assert np.sum(gradients[name] * direction) == pytest.approx(numeric, rel=1e-5, abs=1e-8), name


def test_shifts_move_each_image_by_at_most_one_pixel() -> None:
    x = np.zeros((200, 1, 8, 8), np.float32)
    x[:, 0, 3, 4] = 1
    moved = train.shifted(x, np.random.default_rng(3))
    places = {(int(row), int(column)) for _, _, row, column in np.argwhere(moved)}
    assert places == {(row, column) for row in (2, 3, 4) for column in (3, 4, 5)}
    assert (moved.sum(axis=(1, 2, 3)) == 1).all()


def test_adam_walks_its_first_step_at_full_rate_whatever_the_size_of_the_gradient() -> None:
    gradient = np.array([1e-3, -5.0, 2e4])
    direction = train.adam_direction(gradient, np.zeros(3), np.zeros(3), step=1)
    assert direction == pytest.approx([1, -1, 1], abs=1e-4)


def test_training_looks_at_no_digit_outside_the_training_split() -> None:
    hidden = DIGITS.images.copy()
    hidden[np.concatenate([DIGITS.validation, DIGITS.test])] = 0
    runs = [
        train.train(digits._replace(train=digits.train[:64]), epochs=1)
        for digits in (DIGITS, DIGITS._replace(images=hidden))
    ]
    assert all(np.array_equal(runs[0][name], runs[1][name]) for name in WEIGHTS)
