"""Fresh cases from PyTorch, on the CPU."""

import fresh
import numpy as np

from qtutor.engines.processor import convolution

DTYPES = {"uint8": "quint8", "int8": "qint8", "int32": "qint32"}


def torch():
    import torch

    torch.set_num_threads(1)
    return torch


def has_vnni():
    """Whether torch finds AVX512-VNNI, and its "x86" engine so leaves convolutions to oneDNN."""
    return torch().cpu._is_vnni_supported()


def quantized(q, scale, zp):
    """A quantized tensor with exactly these codes: torch's own rounding never sees them."""
    return torch()._make_per_tensor_quantized_tensor(torch().from_numpy(q.copy()), float(scale), int(zp))


def per_tensor(rng, dtypes=("uint8", "int8")):
    dtype = fresh.one_of(rng, dtypes)
    scale, zp = fresh.scale(rng), np.int64(fresh.zero_point(rng, (), dtype))
    x = fresh.reals(rng, fresh.one_of(rng, fresh.SHAPES), scale, dtype)
    return dtype, {"x": x, "scale": scale, "zp": np.asarray(zp)}


def quantize_per_tensor(rng):
    dtype, inputs = per_tensor(rng)
    if rng.random() < 0.1:  # a bias
        dtype, inputs["zp"] = "int32", np.asarray(np.int64(0))
    x, scale, zp = torch().from_numpy(inputs["x"]), float(inputs["scale"]), int(inputs["zp"])
    y = torch().quantize_per_tensor(x, scale, zp, getattr(torch(), DTYPES[dtype])).int_repr().numpy()
    return {"dtype": dtype}, {**inputs, "y": y}


def quantize_per_channel(rng):
    dtype, axis, shape = fresh.one_of(rng, ["uint8", "int8"]), int(rng.integers(0, 2)), (6, 41)
    scale, zp = fresh.scale(rng, (shape[axis],)), np.int64(fresh.zero_point(rng, (shape[axis],), dtype))
    x = fresh.reals(rng, shape, scale.mean(), dtype)
    arrays = (torch().from_numpy(array) for array in (x, scale, zp))
    y = torch().quantize_per_channel(*arrays, axis, getattr(torch(), DTYPES[dtype])).int_repr().numpy()
    return {"dtype": dtype, "axis": axis}, {"x": x, "scale": scale, "zp": zp, "y": y}


def decomposed_quantize_per_tensor(rng):
    from torch.ao.quantization.fx import _decomposed  # registers the operator

    dtype, inputs = per_tensor(rng)
    x, limits = torch().from_numpy(inputs["x"]), np.iinfo(dtype)
    y = _decomposed.quantize_per_tensor(
        x, float(inputs["scale"]), int(inputs["zp"]), limits.min, limits.max, getattr(torch(), dtype)
    )
    return {"dtype": dtype}, {**inputs, "y": y.numpy()}


def fake_quantize(rng):
    dtype, inputs = per_tensor(rng)
    limits = {"qmin": int(np.iinfo(dtype).min), "qmax": int(np.iinfo(dtype).max)}
    y = torch().fake_quantize_per_tensor_affine(
        torch().from_numpy(inputs["x"]), float(inputs["scale"]), int(inputs["zp"]), *limits.values()
    )
    return {"dtype": "float32", **limits}, {**inputs, "y": y.numpy()}


def dequantize(rng):
    dtype = fresh.one_of(rng, ["uint8", "int8"])
    scale, zp = fresh.scale(rng), np.int64(fresh.zero_point(rng, (), dtype))
    x = fresh.codes(rng, fresh.one_of(rng, fresh.SHAPES), dtype)
    return {"dtype": dtype}, {
        "x": x,
        "scale": scale,
        "zp": np.asarray(zp),
        "y": quantized(x, scale, zp).dequantize().numpy(),
    }


def observed(observer, tensors):
    for x in tensors:
        observer(torch().from_numpy(x))
    return tuple(parameter.numpy() for parameter in observer.calculate_qparams())


def minmax_observer(rng):
    from torch.ao.quantization import MinMaxObserver

    dtype, symmetric = fresh.one_of(rng, ["quint8", "qint8"]), bool(rng.integers(2))
    custom = bool(rng.integers(2))
    eps = fresh.one_of(rng, [2.0**-23, 2.0**-12])
    qmin, qmax = (
        {"quint8": (0, 127), "qint8": (-127, 127)}[dtype]
        if custom
        else {"quint8": (0, 255), "qint8": (-128, 127)}[dtype]
    )
    scheme = torch().per_tensor_symmetric if symmetric else torch().per_tensor_affine
    limits = {"quant_min": qmin, "quant_max": qmax} if custom else {}
    rmin, rmax = fresh.ranges(rng, 60)
    chosen = [
        observed(
            MinMaxObserver(dtype=getattr(torch(), dtype), qscheme=scheme, eps=eps, **limits), [np.array(ends)]
        )
        for ends in zip(rmin, rmax, strict=True)
    ]
    scale, zp = (np.concatenate(parts) for parts in zip(*chosen, strict=True))
    arguments = {
        "qmin": qmin, "qmax": qmax, "symmetric": symmetric, "eps": eps, "custom": custom,
        "dtype": f"torch.{dtype}",
    }  # fmt: skip
    return arguments, {"rmin": rmin, "rmax": rmax, "scale": scale, "zp": zp.astype(np.int64)}


def per_channel_observer(rng):
    from torch.ao.quantization import PerChannelMinMaxObserver

    dtype, scheme = fresh.one_of(rng, ["quint8", "qint8"]), fresh.one_of(rng, ["symmetric", "affine"])
    x = np.float32(rng.normal(size=(5, 7, 3)) * fresh.scale(rng))
    observer = PerChannelMinMaxObserver(
        dtype=getattr(torch(), dtype), qscheme=getattr(torch(), f"per_channel_{scheme}")
    )
    scale, zp = observed(observer, [x])
    return {"dtype": dtype, "scheme": f"per_channel_{scheme}"}, {"x": x, "scale": scale, "zp": zp}


def moving_average_observer(rng):
    from torch.ao.quantization import MovingAverageMinMaxObserver

    c = fresh.one_of(rng, [0.1, 0.01, 0.5])
    x = np.float32(rng.normal(size=(4, 50)) * fresh.scale(rng))
    observer = MovingAverageMinMaxObserver(averaging_constant=c)
    scale, zp = observed(observer, x)
    ends = {"min_val": observer.min_val.numpy(), "max_val": observer.max_val.numpy()}
    return {"averaging_constant": c, "dtype": "quint8"}, {"x": x, "scale": scale, "zp": zp, **ends}


def choose_qparams(rng):
    reduce_range, qengine = bool(rng.integers(2)), fresh.one_of(rng, ["x86", "fbgemm", "qnnpack"])
    torch().backends.quantized.engine = qengine
    rmin, rmax = fresh.ranges(rng, 60)
    chosen = [
        torch()._choose_qparams_per_tensor(torch().from_numpy(np.array(ends)), reduce_range)
        for ends in zip(rmin, rmax, strict=True)
    ]
    scale, zp = (np.array(parts) for parts in zip(*chosen, strict=True))
    arguments = {"reduce_range": reduce_range, "qengine": qengine}
    return arguments, {"rmin": rmin, "rmax": rmax, "scale": scale, "zp": zp.astype(np.int64)}


def layer(rng, x, shape, first):
    """Inputs of a layer with weights of this shape, as recorded, and weights and bias as tensors.

    first(x, w) gives one accumulator per output channel: the bias puts it on a tie.
    """
    per_channel = bool(rng.integers(2))
    w = fresh.codes(rng, shape, "int8", bits=7)
    w_scale = fresh.scale(rng, (len(w),) if per_channel else (1,))
    if per_channel:
        zeros = torch().zeros(len(w), dtype=torch().int64)
        weight = torch()._make_per_channel_quantized_tensor(
            torch().from_numpy(w), torch().from_numpy(w_scale).double(), zeros, 0
        )
    else:
        weight = quantized(w, w_scale[0], 0)
    x_scale, x_zp = fresh.scale(rng), np.int64(fresh.zero_point(rng, (), "uint8"))
    y_scale = fresh.output_scale(rng, 4000 * np.sqrt(w[0].size), [x_scale, w_scale])
    inputs = {
        "x": x, "x_scale": x_scale, "x_zp": x_zp, "w": w, "w_scale": w_scale,
        "y_scale": y_scale, "y_zp": np.int64(fresh.zero_point(rng, (), "uint8")),
    }  # fmt: skip
    bias = None
    if rng.random() < 0.8:
        inputs["bias"] = fresh.biases_on_ties(rng, first(x - x_zp, w), x_scale * w_scale, y_scale)
        bias = torch().from_numpy(inputs["bias"])
    return per_channel, inputs, weight, bias


def linear(rng):
    qengine, relu = fresh.one_of(rng, ["fbgemm", "x86", "onednn", "qnnpack"]), bool(rng.integers(2))
    torch().backends.quantized.engine = qengine
    m, k, n = (fresh.one_of(rng, sizes) for sizes in ([1, 5, 19], [1, 5, 16, 33], [1, 16, 33, 300]))
    x = fresh.codes(rng, (m, k), "uint8")
    per_channel, inputs, weight, bias = layer(rng, x, (n, k), lambda x, w: x[0] @ w.T.astype(int))
    packed = torch().ops.quantized.linear_prepack(weight, bias)
    run = torch().ops.quantized.linear_relu if relu else torch().ops.quantized.linear
    x = quantized(inputs["x"], inputs["x_scale"], inputs["x_zp"])
    y = run(x, packed, float(inputs["y_scale"]), int(inputs["y_zp"])).int_repr().numpy()
    return {"qengine": qengine, "per_channel": per_channel, "relu": relu}, {**inputs, "y": y}


def conv2d(rng):
    qengine, relu = fresh.one_of(rng, ["fbgemm", "x86", "onednn", "qnnpack"]), bool(rng.integers(2))
    torch().backends.quantized.engine = qengine
    kinds = [(1, 6, 5), (6, 6, 6), (1, 2, 200)]
    if qengine != "onednn" or has_vnni():  # else oneDNN has more than one kernel for groups, which disagree
        kinds.append((2, 6, 6))
    group, channels, features = fresh.one_of(rng, kinds)
    kernel = [int(k) for k in rng.integers(1, 4, 2)]
    strides, pads = [int(s) for s in rng.integers(1, 3, 2)], [int(p) for p in rng.integers(0, 2, 2)]
    x = fresh.codes(rng, (2, channels, 9, 8), "uint8")

    def first(x, w):
        return convolution(x[:1], w, strides, pads * 2, [1, 1], group)[0, :, 0, 0]

    per_channel, inputs, weight, bias = layer(rng, x, (features, channels // group, *kernel), first)
    packed = torch().ops.quantized.conv2d_prepack(weight, bias, strides, pads, [1, 1], group)
    run = torch().ops.quantized.conv2d_relu if relu else torch().ops.quantized.conv2d
    x = quantized(inputs["x"], inputs["x_scale"], inputs["x_zp"])
    y = run(x, packed, float(inputs["y_scale"]), int(inputs["y_zp"])).int_repr().numpy()
    arguments = {
        "qengine": qengine, "per_channel": per_channel, "relu": relu,
        "strides": strides, "pads": pads * 2, "dilations": [1, 1], "group": group,
    }  # fmt: skip
    return arguments, {**inputs, "y": y}


TORCH = {
    "quantize_per_tensor": quantize_per_tensor,
    "quantize_per_channel": quantize_per_channel,
    "decomposed.quantize_per_tensor": decomposed_quantize_per_tensor,
    "fake_quantize_per_tensor_affine": fake_quantize,
    "dequantize": dequantize,
    "MinMaxObserver": minmax_observer,
    "PerChannelMinMaxObserver": per_channel_observer,
    "MovingAverageMinMaxObserver": moving_average_observer,
    "_choose_qparams_per_tensor": choose_qparams,
    "linear": linear,
    "conv2d": conv2d,
}
