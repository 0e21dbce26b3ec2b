"""Record what loop_cnn.py says for the whole test split: python tests/make_oracle_codes.py (10 minutes).

For each network of NETWORKS, tests/oracle_codes.npz holds the maps of the tensors, which fix the
network to the last bit (calibration sums floats, and their order differs from computer to computer);
the codes of the logits; and for each tensor the SHA-256 of its codes as bytes, one byte a code.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
from exact import exact_double, exact_single
from loop_cnn import run_loops
from networks import input_codes, integer_network

from qtutor import INT4, INT8, UINT8, IntRange, MinMaxObserver, MSEObserver, QParams, int_range
from qtutor.graph import quantize_network
from qtutor.models.digits import CNN, load_digits, load_weights

RECORD = Path(__file__).with_name("oracle_codes.npz")
# name: (exact product, observer, settings of the activations, settings of the weights)
NETWORKS = {
    "int8, two roundings": (exact_double, MinMaxObserver, {"activation_range": INT8}, {}),
    "int8, one rounding": (exact_single, MinMaxObserver, {"activation_range": INT8}, {}),
    "4 bits, symmetric, per tensor, one rounding": (
        exact_single,
        MSEObserver,
        {"activation_range": INT4, "symmetric": True},
        {"weight_range": INT4, "per_channel": False},
    ),
    "uint8 activations, 5-bit weights, two roundings": (
        exact_double,
        MinMaxObserver,
        {"activation_range": UINT8},
        {"weight_range": int_range(5)},
    ),
}


def recorded_network(record, name):
    """The network whose codes the record holds."""
    *_, weight_settings = NETWORKS[name]
    maps = {
        tensor: QParams(scale, int(zero_point), IntRange(*limits))
        for tensor, scale, zero_point, limits in zip(
            record["tensors"].tolist(),
            record[f"{name}/scale"],
            record[f"{name}/zero_point"],
            record[f"{name}/limits"].tolist(),
            strict=True,
        )
    }
    return quantize_network(CNN, load_weights(), maps, **weight_settings)


def digest(codes):
    """SHA-256 of the codes, one byte each, images first."""
    numbers = np.asarray(codes).astype(np.int64).reshape(len(codes), -1)
    return hashlib.sha256((numbers % 256).astype(np.uint8).tobytes()).hexdigest()


def main():
    digits = load_digits()
    record = {}
    for name, (product, observer, activations, weight_settings) in NETWORKS.items():
        network = integer_network(
            digits.images[digits.train],
            observer=observer,
            **activations,
            **weight_settings,
        )
        maps = network.qparams
        record["tensors"] = list(maps)
        record[f"{name}/scale"] = [qparams.scale for qparams in maps.values()]
        record[f"{name}/zero_point"] = [qparams.zero_point for qparams in maps.values()]
        record[f"{name}/limits"] = [(qparams.qmin, qparams.qmax) for qparams in maps.values()]
        images = []
        for number, image in enumerate(input_codes(network, digits.images[digits.test]).tolist()):
            images.append(run_loops(network, image, product))
            print(f"\r{name}: {number + 1}", end="", file=sys.stderr)
        print(file=sys.stderr)
        record[f"{name}/sha256"] = [digest([image[tensor] for image in images]) for tensor in maps]
        record[f"{name}/logits"] = np.array([image["logits"] for image in images], np.int16)
    np.savez_compressed(RECORD, **record)


if __name__ == "__main__":
    main()
