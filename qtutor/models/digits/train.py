"""Train the running network and write weights.npz: python -m qtutor.models.digits.train

Plain NumPy: a forward pass that keeps what the gradients need, the chain rule from layer to layer, Adam
(Kingma and Ba 2015, arXiv:1412.6980, algorithm 1) with a rate that falls along half a cosine, weight decay,
smoothed labels, and digits shifted by up to one pixel.  Needs tqdm for its progress bar.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from qtutor.graph import (
    EPSILON,
    Add,
    Conv,
    Linear,
    Pool,
    batch_norm,
    convolve,
    forward,
    leaky_relu,
    mix_channels,
    pad,
    taps,
    weight_shapes,
)
from qtutor.models.digits import CNN, Digits, load_digits, to_input

SEED = 1  # seed 0 gave block1.add the int8 zero-point 0, where the chapters would have nothing to show
EPOCHS = 60
BATCH = 32
RATE = 1e-2  # of Adam at the start; 0 at the end
DECAY = 2e-4  # every weight loses this share of itself at each step
SMOOTHING = 0.1  # share of the target that is spread over all ten classes
MOMENTUM = 0.1  # share of the newest batch in the running mean and variance

Weights = dict[str, np.ndarray]
Statistics = dict[str, tuple[np.ndarray, np.ndarray]]


def train(digits: Digits, seed: int = SEED, epochs: int = EPOCHS) -> Weights:
    """Weights fitted to `digits.train`; the other two splits are not looked at."""
    rng = np.random.default_rng(seed)
    images, labels = to_input(digits.images), digits.labels
    weights = initial_weights(rng)
    moments = {name: (np.zeros_like(w), np.zeros_like(w)) for name, w in weights.items()}
    steps = epochs * (len(digits.train) // BATCH)
    step = 0
    progress = tqdm(range(epochs), desc="training", unit="epoch")
    for _ in progress:
        for batch in batches(digits.train, rng):
            x = shifted(images[batch], rng)
            loss, gradients, statistics = loss_and_gradients(weights, x, labels[batch])
            rate = RATE * (1 + math.cos(math.pi * step / steps)) / 2
            step += 1
            for name, gradient in gradients.items():
                if name.endswith("weight"):
                    weights[name] -= DECAY * weights[name]
                weights[name] -= rate * adam_direction(gradient, *moments[name], step)
            for name, (mean, variance) in statistics.items():
                weights[f"{name}.mean"] += MOMENTUM * (mean - weights[f"{name}.mean"])
                weights[f"{name}.variance"] += MOMENTUM * (variance - weights[f"{name}.variance"])
        progress.set_postfix(loss=f"{loss:.4f}")
    return weights


def initial_weights(rng: np.random.Generator) -> Weights:
    """Normal, of variance 2 / fan_in (He et al. 2015, arXiv:1502.01852, equation 10); batch norms neutral."""
    weights = {}
    for name, shape in weight_shapes(CNN).items():
        if name.endswith("weight"):
            array = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        else:
            array = np.ones(shape) if name.endswith(("gamma", "variance")) else np.zeros(shape)
        weights[name] = array.astype(np.float32)
    return weights


def batches(indices: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The indices in random order, BATCH at a time; fewer than BATCH at the end sit this epoch out."""
    order = rng.permutation(indices)
    for start in range(0, len(order) - BATCH + 1, BATCH):
        yield order[start : start + BATCH]


def shifted(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image of (n, 1, height, width) moved by -1, 0 or 1 pixel down and across; paper fills the edge."""
    windows = np.lib.stride_tricks.sliding_window_view(pad(x, kernel=3), x.shape[2:], axis=(2, 3))
    down, across = rng.integers(0, 3, (2, len(x)))
    return windows[np.arange(len(x)), :, down, across]


def adam_direction(gradient: np.ndarray, first: np.ndarray, second: np.ndarray, step: int) -> np.ndarray:
    """Update both moments in place, and return the direction to walk against; float32 stays float32."""
    first += 0.1 * (gradient - first)
    second += 0.001 * (gradient**2 - second)
    m_hat, v_hat = first / (1 - 0.9**step), second / (1 - 0.999**step)  # they began at 0: remove that bias
    return m_hat / (np.sqrt(v_hat) + 1e-8)


def loss_and_gradients(
    weights: Weights, x: np.ndarray, labels: np.ndarray
) -> tuple[float, Weights, Statistics]:
    """Cross-entropy of a batch, its gradient for each trained array, the statistics of each batch norm.

    x is (n, 1, 8, 8), as `to_input` gives it; labels are n integers 0..9.  All floats have the dtype of x.
    """
    # As forward, but the batch norms take the mean and the variance of this very batch.
    tensors, convolved, statistics = {"input": x}, {}, {}
    for node in CNN.nodes:
        match node:
            case Conv(name=name):
                y = convolved[name] = convolve(tensors[node.source], weights[f"{name}.weight"], node)
                mean, variance = statistics[name] = y.mean(axis=(0, 2, 3)), y.var(axis=(0, 2, 3))
                y = batch_norm(y, weights[f"{name}.gamma"], weights[f"{name}.beta"], mean, variance)
                tensors[name] = leaky_relu(y, node.slope)
            case Add(name=name):
                tensors[name] = tensors[node.left] + tensors[node.right]
            case Pool(name=name):
                tensors[name] = tensors[node.source].mean(axis=(2, 3))
            case Linear(name=name):
                tensors[name] = tensors[node.source] @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    # d[name]: gradient of the loss for that tensor, a sum over the layers that read it.
    d = {name: np.zeros_like(tensor) for name, tensor in tensors.items()}
    loss, d["logits"] = cross_entropy(tensors["logits"], labels)
    gradients: Weights = {}
    for node in reversed(CNN.nodes):
        dy = d[node.name]
        match node:
            case Linear(name=name):
                gradients[f"{name}.weight"] = dy.T @ tensors[node.source]
                gradients[f"{name}.bias"] = dy.sum(axis=0)
                d[node.source] += dy @ weights[f"{name}.weight"]
            case Pool():
                height, width = tensors[node.source].shape[2:]
                d[node.source] += dy[:, :, np.newaxis, np.newaxis] / (height * width)
            case Add():
                d[node.left] += dy
                d[node.right] += dy
            case Conv(name=name):
                dy = np.where(
                    tensors[name] > 0, dy, node.slope * dy
                )  # leaky ReLU keeps the sign of its input
                dy, gradients[f"{name}.gamma"], gradients[f"{name}.beta"] = batch_norm_backward(
                    dy, convolved[name], weights[f"{name}.gamma"], *statistics[name]
                )
                dx, gradients[f"{name}.weight"] = convolve_backward(
                    dy, tensors[node.source], weights[f"{name}.weight"], node
                )
                d[node.source] += dx
    return loss, gradients, statistics


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean over the batch of -sum(target * log softmax(logits)), and its gradient for the logits.

    The target: 1 at the label, 0 elsewhere, then smoothed (Szegedy et al. 2016, arXiv:1512.00567, section 7).
    """
    target = (1 - SMOOTHING) * np.eye(10, dtype=logits.dtype)[labels] + SMOOTHING / 10
    logits = logits - logits.max(axis=1, keepdims=True)  # softmax stays the same, and exp cannot overflow
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    loss = -float((target * log_softmax).sum(axis=1).mean())
    return loss, (np.exp(log_softmax) - target) / len(labels)


def batch_norm_backward(
    dy: np.ndarray, x: np.ndarray, gamma: np.ndarray, mean: np.ndarray, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients for x, gamma and beta, where mean and variance are those of x itself.

    Source: Ioffe and Szegedy 2015, arXiv:1502.03167, section 3.
    """
    x_hat = batch_norm(x, np.ones_like(gamma), np.zeros_like(gamma), mean, variance)
    d_gamma, d_beta = (dy * x_hat).sum(axis=(0, 2, 3)), dy.sum(axis=(0, 2, 3))
    count = x.size // len(gamma)  # values that share one mean and one variance, and so sway each other
    swayed = (d_gamma[:, np.newaxis, np.newaxis] * x_hat + d_beta[:, np.newaxis, np.newaxis]) / count
    slope = gamma / np.sqrt(variance + EPSILON)
    return slope[:, np.newaxis, np.newaxis] * (dy - swayed), d_gamma, d_beta


def convolve_backward(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray, node: Conv
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of `convolve` for x and weight: each tap that fed y gets its share of dy back."""
    padded = pad(x, node.kernel)
    d_padded, d_weight = np.zeros_like(padded), np.zeros_like(weight)
    views, d_views = (taps(array, node.kernel, node.stride) for array in (padded, d_padded))
    for (i, j, view), (_, _, d_view) in zip(views, d_views, strict=True):
        if node.depthwise:
            d_weight[:, 0, i, j] = (dy * view).sum(axis=(0, 2, 3))
            d_view += weight[:, 0, i, j, np.newaxis, np.newaxis] * dy
        else:
            d_weight[:, :, i, j] = np.tensordot(dy, view, axes=((0, 2, 3), (0, 2, 3)))
            d_view += mix_channels(weight[:, :, i, j].T, dy)
    edge = node.kernel // 2
    return d_padded[:, :, edge : edge + x.shape[2], edge : edge + x.shape[3]], d_weight


def accuracy(weights: Weights, digits: Digits, indices: np.ndarray) -> float:
    """The share of these digits, 0 to 1, whose largest logit is that of their label."""
    predicted = forward(CNN, weights, to_input(digits.images[indices]))["logits"].argmax(axis=1)
    return float(np.mean(predicted == digits.labels[indices]))


def main() -> None:
    """Train, write weights.npz beside this script, and measure."""
    digits = load_digits()
    weights = train(digits)
    target = Path(__file__).with_name("weights.npz")
    np.savez(target, **weights)  # type: ignore[arg-type]
    print(f"{target.name}: {len(weights)} arrays, {target.stat().st_size:,} bytes")
    for name, indices in {"validation": digits.validation, "test": digits.test}.items():
        p = accuracy(weights, digits, indices)
        standard_error = np.sqrt(p * (1 - p) / len(indices))  # of a share of independent trials
        print(f"{name}: {100 * p:.2f} +- {100 * standard_error:.2f} % of {len(indices)} digits right")


if __name__ == "__main__":
    main()
