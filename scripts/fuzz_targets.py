"""The readers of ``scripts/fuzz.py``: for each, a small valid file, and its mutations."""

import gzip
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgpack
import numpy as np
from PIL import Image

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"

CANARY = "fuzz_canary"
"""A module that writes the file PWNED beside itself when it is imported."""

INTERESTING = (
    0,
    1,
    0x7F,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0xFFFFFFFF,
    2**31,
    2**40,
    2**63 - 1,
    2**64 - 1,
)


PLACES_OF_NAMES = (
    *(
        "sde",
        "sde.name",
        "model",
        "model.name",
        "parameterization",
        "parameterization.name",
        "sampling",
    ),
    *(
        "sampling.name",
        "sampling.grid",
        "sampling.threshold",
        "sampling.predictor",
        "parameterization.time_label",
    ),
    *(
        "eval.divergence",
        "eval.bound",
        "eval.dequantizer",
        "objective",
        "objective.name",
        "objective.weighting",
    ),
    *("objective.time_sampling", "optim", "optim.name", "data", "data.source", "training.averages"),
)
"""The keys of a config that name an entry of a table, and may name code."""


class Target(NamedTuple):
    """A reader.

    Attributes:
        write: write a valid file or folder of its kind, in a folder of its own.
        read: read it by the public reader, which may raise ``ValueError`` or ``OSError``
            with one line.
        spoil: a mutation specific to the kind; None for random bytes alone.
        prepare: make the files that all cases share, before the first.
        bytes: whether random bytes of the files are changed too.
    """

    write: Callable[[Random, Path], None]
    read: Callable[[Path], object]
    spoil: Callable[[Random, Path], None] | None = None
    prepare: Callable[[], object] | None = None
    bytes: bool = True


# --- changes of bytes ---


def mutated(rng: Random, data: bytes) -> bytes:
    """Changed bytes: bits flipped, cut off, copied elsewhere, or replaced by a number of 1
    to 8 bytes.
    """
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        if not changed:
            break
        # The beginning and the end of a file describe its content.
        place = rng.choice(
            (rng.randrange(len(changed)), rng.randrange(min(64, len(changed))), len(changed) - 1)
        )
        kind = rng.randrange(5)
        if kind == 0:
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del changed[rng.randrange(len(changed)) :]
        elif kind == 2:
            start = rng.randrange(len(changed))
            changed[place:place] = changed[start : start + rng.randrange(1, 200)]
        elif kind == 3:
            size = rng.choice((1, 2, 4, 8))
            number = rng.choice(INTERESTING) % 256**size
            changed[place : place + size] = number.to_bytes(size, rng.choice(("little", "big")))
        else:
            start = rng.randrange(len(changed))
            changed[start : start + rng.randrange(1, 2000)] = b""
    return bytes(changed)


def mutate_a_file(rng: Random, folder: Path) -> None:
    """Change the bytes of one of the files below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = rng.choice(files)
    path.write_bytes(mutated(rng, path.read_bytes()))


def value_of_any_kind(rng: Random, depth: int = 0) -> object:
    """A random JSON value."""
    kinds: list[Callable[[], object]] = [
        lambda: rng.choice((0, 1, -1, 2, 7, 10**6, 10**9, 2**31, 2**63, 10**400)),
        lambda: rng.choice((0.0, 1e-9, 0.5, 1e9, 1e308, -1.0, float("inf"), float("nan"))),
        lambda: rng.choice(
            (
                "",
                "x",
                "none",
                "vp",
                "../../x",
                f"{CANARY}:run",
                "os:system",
                "a\nb",
                "\x00",
                "é" * 99,
            )
        ),
        lambda: rng.choice((True, False, None)),
        lambda: [
            value_of_any_kind(rng, depth + 1)
            for _ in range(rng.choice((0, 1, 3, 1000)) if depth < 2 else 0)
        ],
        lambda: {
            str(n): value_of_any_kind(rng, depth + 1)
            for n in range(rng.choice((0, 1, 3)) if depth < 3 else 0)
        },
    ]
    return rng.choice(kinds)()


def json_changed(rng: Random, value: object) -> object:
    """JSON with a few of its values replaced, removed, or repeated under other names."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        place, key = value, None
        for _ in range(rng.randrange(1, 6)):
            inner = place if key is None else place[key]  # type: ignore[index]
            if not isinstance(inner, dict | list) or not inner:
                break
            place = inner
            key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
        if key is None:
            return value_of_any_kind(rng)
        if rng.random() < 0.15:
            del place[key]  # type: ignore[attr-defined]
        else:
            place[key] = value_of_any_kind(rng)  # type: ignore[index]
    return value


def json_text(rng: Random, value: object) -> str:
    """JSON as text, sometimes nested as deep as the limit of a parser, or deeper."""
    text = json.dumps(value)
    if rng.random() < 0.05:
        depth = rng.choice((100, 400, 900, 100_000))
        text = rng.choice(('{"a":' * depth + "1" + "}" * depth, "[" * depth + "]" * depth))
    return text


def change_json(rng: Random, path: Path) -> None:
    """Change the values in a file of JSON."""
    path.write_text(
        json_text(rng, json_changed(rng, json.loads(path.read_text(encoding="utf-8")))),
        encoding="utf-8",
    )


def _zeros(rng: Random) -> bytes:
    """A long run of zeros, which deflates to a thousandth."""
    return bytes(rng.choice((10**5, 10**6, 10**6, 10**7, 10**7, 10**8)))


# --- checkpoints ---


def _write_torch(rng: Random, folder: Path) -> None:
    name = rng.choice(("ddpmpp_subvp.pth", "ncsn_ve.pth"))
    (folder / "model.pth").write_bytes((GOLDEN / name).read_bytes())


def _torch_zip(payload: bytes, storages: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", payload)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
    return stream.getvalue()


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _torch_tensor(count: int, size: tuple[int, ...], key: str = "0") -> bytes:
    """The opcodes of a tensor of zeros, all steps of which are one element."""
    numbers = lambda values: b"(" + b"".join(b"J" + struct.pack("<i", v) for v in values) + b"t"  # noqa: E731
    storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text(key) + _text("cpu")
    storage += b"J" + struct.pack("<i", count) + b"tQ"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + numbers(size) + numbers((1,
        ) * len(size))
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )  # fmt: skip


def _spoil_torch(rng: Random, folder: Path) -> None:
    depth, path = rng.choice((20, 100, 5000)), folder / "model.pth"
    doubled = b"}" + b"".join(
        b"q"
        + bytes([n % 256])
        + b"}("
        + b"".join(_text(k) + b"h" + bytes([n % 256]) for k in "ab")
        + b"u"
        for n in range(depth)
    )
    tuples = b")" + b"2\x86" * depth
    payloads = {
        "shared dictionaries": doubled,
        "a key of nested tuples": b"}(" + tuples + b"K\x01u",
        "a device of nested tuples": b"ctorch\ndevice\n(" + tuples + b"tR",
        "a set of nested tuples": b"\x8f(" + tuples + b"\x90",
        "nested lists": b"]" * depth + b"a" * (depth - 1),
        "itself": b"]q\x00h\x00a",
        "views of one storage": b"]("
        + _torch_tensor(10**6, (10**6,)) * rng.choice((2, 3000))
        + b"e",
        "a huge view": _torch_tensor(10**6, (2**31 - 1,) * rng.choice((1, 3, 40))),
        "a call": rng.choice(
            (b"cos\nsystem\n(" + _text("touch PWNED") + b"tR", f"c{CANARY}\nrun\n)R".encode())
        ),
        "long numbers": b"\x8b" + struct.pack("<i", 2**31 - 1) + b"1",
    }
    chosen = rng.choice(list(payloads))
    path.write_bytes(_torch_zip(b"\x80\x02" + payloads[chosen] + b".", {"0": bytes(4 * 10**6)}))


def _read_torch(folder: Path) -> object:
    from score_sde.interop.foreign import count_parameters

    return count_parameters(folder / "model.pth")


def _load_torch(folder: Path) -> object:
    import score_sde as ss

    name = (
        "ncsn_ve" if b"module.begin_conv" in (folder / "model.pth").read_bytes() else "ddpmpp_subvp"
    )
    fields = json.loads((GOLDEN / f"{name}.json").read_text()).get("config")
    return (
        None
        if fields is None
        else ss.load(folder / "model.pth", config=ss.config_from_reference(fields))
    )


def _write_flax(rng: Random, folder: Path) -> None:
    (folder / "checkpoint").write_bytes((GOLDEN / "flax_ddpmpp_vp.msgpack").read_bytes())


def _spoil_flax(rng: Random, folder: Path) -> None:
    depth = rng.choice((100, 600, 100_000))
    dtype = rng.choice((b"float32", b"O", b"V1000000", b"x"))
    array = msgpack.packb([[2**31] * rng.choice((1, 40)), dtype, b"1234"]) or b""
    payloads = [
        b"\x81\xa1a" * depth + b"\x01",
        b"\x91" * depth + b"\x01",
        b"\x81\xa1a" + b"\xdd\xff\xff\xff\xff" * depth,
        b"\x81\xa1a\xdf\xff\xff\xff\xff",
        b"\x81\xa1a\xc9" + struct.pack(">I", len(array)) + b"\x01" + array,
        b"\x81\xa1a\xc6\xff\xff\xff\xff",
    ]
    (folder / "checkpoint").write_bytes(rng.choice(payloads))


def _read_flax(folder: Path) -> object:
    from score_sde.interop.foreign import count_parameters

    return count_parameters(folder / "checkpoint")


def _write_exported(rng: Random, folder: Path) -> None:
    from score_sde.configs.default import get_default_config
    from score_sde.export.model import export_model

    config = get_default_config().to_dict()
    config["model"] = {"name": "mlp", "hidden_sizes": [4, 4], "embedding_dim": 4}
    config["data"] = {"source": "moons"}
    config["example"] = {"shape": [2], "num_levels": None}
    dense = {"kernel": np.ones((4, 4), np.float32), "bias": np.ones(4, np.float32)}
    params = {
        "condition": {"Dense_0": dense, "Dense_1": dense},
        **{f"condition_{layer}": {"kernel": dense["kernel"]} for layer in range(2)},
        "hidden_0": {"kernel": np.ones((2, 4), np.float32), "bias": dense["bias"]},
        "hidden_1": dense,
        "out": {"kernel": np.ones((4, 2), np.float32), "bias": np.ones(2, np.float32)},
    }
    export_model(folder / "model", params, config, step=3)


def _spoil_config(rng: Random, folder: Path) -> None:
    """Other values in the config, such as names of code; everything else is valid."""
    path = folder / "model" / "model.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    if rng.random() < 0.4:
        *sections, key = rng.choice(PLACES_OF_NAMES).split(".")
        code = rng.choice(
            (f"{CANARY}:run", "os:system", "subprocess:run", "shutil:rmtree", f"{CANARY}.x:y")
        )
        place = card["config"][sections[0]] if sections else card["config"]
        place[key] = rng.choice((code, {"name": code, "command": "touch PWNED"}))
        path.write_text(json.dumps(card))
    else:
        card["config"] = json_changed(rng, card["config"])
        path.write_text(json_text(rng, card), encoding="utf-8")


def _spoil_weights(rng: Random, folder: Path) -> None:
    """Another header, with the right number of bytes."""
    path = folder / "model" / "model.safetensors"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    if rng.random() < 0.3:
        first = next(iter(header))
        header[rng.choice(("a/" * 5000 + "b", f"{first}/x", first.partition("/")[0]))] = header[
            first
        ]
    text = json_text(rng, json_changed(rng, header)).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def _read_exported(folder: Path) -> object:
    import score_sde as ss

    return ss.load(folder / "model")


def _write_diffusers(rng: Random, folder: Path) -> None:
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        (folder / name).write_bytes((GOLDEN / "diffusers_ddpm" / name).read_bytes())


def _spoil_diffusers(rng: Random, folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    big = {
        "layers_per_block": 10**6,
        "sample_size": 2**30,
        "block_out_channels": [32] * 10**5,
        "in_channels": 10**9,
    }
    if rng.random() < 0.3:
        name = rng.choice(list(big))
        path.write_text(json.dumps({**config, name: big[name]}))
    else:
        change_json(rng, path)


def _read_diffusers(folder: Path) -> object:
    import score_sde as ss

    return ss.load(folder)


def _write_reference(rng: Random, folder: Path) -> None:
    (folder / "config.json").write_bytes((GOLDEN / "ncsnpp_ve.json").read_bytes())


def _read_reference(folder: Path) -> object:
    from score_sde.cli.reference_config import read_reference_config

    return read_reference_config(str(folder / "config.json"))


# --- data ---


def _levels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)


def _examples_of(source: object) -> object:
    """All examples, read from their files."""
    return [np.asarray(getattr(source, split)[:50]) for split in ("train", "test")]


def _npy_bytes(header: str, data: bytes = b"") -> bytes:
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def _some_npy(rng: Random) -> bytes:
    shape = rng.choice(
        (
            "(10, 4, 4)",
            "(1000000000, 4)",
            "(-5, 4)",
            "(2**62,)",
            "(10000000, 10)",
            "(0, 99999999999)",
        )
    )
    dtype = rng.choice(("|u1", "<f4", "|O", "|V1000000000", "<U100000", ">f8", "[('a', '<f4')]"))
    order = rng.choice(("True", "False"))
    described = dtype if dtype[0] == "[" else repr(dtype)
    text = f"{{'descr': {described}, 'fortran_order': {order}, 'shape': {shape}}}\n"
    return _npy_bytes(
        text, rng.choice((b"", _levels(160).tobytes(), pickle.dumps({}), _zeros(rng)))
    )


def _write_npz(rng: Random, folder: Path) -> None:
    save = rng.choice((np.savez, np.savez_compressed))
    save(
        folder / "a.npz", train=_levels(10, 4, 4), test=_levels(3, 4, 4), train_labels=np.arange(10)
    )


def _spoil_npz(rng: Random, folder: Path) -> None:
    with zipfile.ZipFile(
        folder / "a.npz", "w", rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED))
    ) as archive:
        for key in rng.choice(
            (("x",), ("train", "test"), ("train", "test", "train_labels", "test_labels"))
        ):
            archive.writestr(f"{key}.npy", _some_npy(rng))


def _read_npz(folder: Path) -> object:
    from score_sde.data import npz

    return _examples_of(npz(folder / "a.npz"))


def _write_npy(rng: Random, folder: Path) -> None:
    np.save(folder / "a.npy", rng.choice((_levels(10, 4, 4), _levels(10, 3).astype(np.float32))))


def _spoil_npy(rng: Random, folder: Path) -> None:
    (folder / "a.npy").write_bytes(_some_npy(rng))


def _read_npy(folder: Path) -> object:
    from score_sde.data import npy

    return [_examples_of(npy(folder / "a.npy", in_memory=in_memory)) for in_memory in (None, True)]


def _idx_bytes(array: np.ndarray) -> bytes:
    return (
        bytes([0, 0, 8, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


def _write_idx(rng: Random, folder: Path) -> None:
    for split in ("train", "t10k"):
        for kind, array in (("images-idx3", _levels(6, 28, 28)), ("labels-idx1", _levels(6) % 10)):
            content = _idx_bytes(array)
            if rng.random() < 0.5:
                (folder / f"{split}-{kind}-ubyte.gz").write_bytes(
                    gzip.compress(content, rng.choice((1, 6)))
                )
            else:
                (folder / f"{split}-{kind}-ubyte").write_bytes(content)


def _spoil_idx(rng: Random, folder: Path) -> None:
    path = rng.choice(sorted(folder.iterdir()))
    shape = [
        rng.choice((0, 1, 28, 10**4, 10**5, 2**32 - 1))
        for _ in range(3 if "images" in path.name else 1)
    ]
    content = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + _zeros(rng)
    path.unlink()
    (folder / path.name.replace(".gz", "")).with_suffix(".gz").write_bytes(
        gzip.compress(content, rng.choice((1, 6)))
    )


def _read_idx(folder: Path) -> object:
    from score_sde.data.named.idx import mnist

    return _examples_of(mnist(folder))


def _write_cifar(rng: Random, folder: Path) -> None:
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
        records = _levels(3, 3073)
        records[:, 0] %= 10
        (folder / f"{name}.bin").write_bytes(records.tobytes())


def _read_cifar(folder: Path) -> object:
    from score_sde.data.named.cifar import cifar10

    return _examples_of(cifar10(folder))


def _write_svhn(rng: Random, folder: Path) -> None:
    from scipy.io import savemat

    for name in ("train", "test"):
        arrays = {"X": _levels(32, 32, 3, 4), "y": np.array([[1, 2, 3, 10]]).T}
        savemat(folder / f"{name}_32x32.mat", arrays, do_compression=rng.random() < 0.7)


def _spoil_svhn(rng: Random, folder: Path) -> None:
    from scipy.io import savemat

    path = folder / "train_32x32.mat"
    if rng.random() < 0.4:
        cell = np.zeros((2, 2))
        for _ in range(rng.choice((1, 50))):
            cell = np.array([cell, None], dtype=object)[:1]
        savemat(
            path,
            {"X": rng.choice((cell, np.array(["text"]), {"a": 1})), "y": np.ones((4, 1))},
            do_compression=True,
        )
        return
    size = rng.choice((10**7, 10**8, 2**32 - 64))
    shape = rng.choice(((32, 32, 3, 10**6), (32, 32, 3, -1), (2**31 - 1, 2**31 - 1, 3, 1)))
    inner = (
        struct.pack("<IIII", 6, 8, 9, 0)
        + struct.pack("<II4i", 5, 16, *shape)
        + struct.pack("<HH4s", 1, 1, b"X")
    )
    inner += struct.pack("<II", 2, size - 56) + _zeros(rng)
    body = zlib.compress(struct.pack("<II", 14, size) + inner, 6)
    path.write_bytes(b" " * 124 + b"\x00\x01IM" + struct.pack("<II", 15, len(body)) + body)


def _read_svhn(folder: Path) -> object:
    from score_sde.data.named.svhn import svhn

    return _examples_of(svhn(folder))


def _write_records(rng: Random, folder: Path) -> None:
    (folder / "faces-r03.tfrecords").write_bytes((GOLDEN / "tf_faces-r03.tfrecords").read_bytes())


def _spoil_records(rng: Random, folder: Path) -> None:
    """Changed records, and too great lengths, with right checksums."""
    from score_sde.data.named.crc32c import masked_crc32c

    path = folder / "faces-r03.tfrecords"
    data, found = path.read_bytes(), b""
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        record, data = data[12 : 12 + length], data[16 + length :]
        record = mutated(rng, record) if rng.random() < 0.7 else record
        head = struct.pack("<Q", rng.choice(INTERESTING) if rng.random() < 0.1 else len(record))
        found += (
            head
            + struct.pack("<I", masked_crc32c(head))
            + record
            + struct.pack("<I", masked_crc32c(record))
        )
    path.write_bytes(found)


def _read_records(folder: Path) -> object:
    from score_sde.data.named.faces import ffhq

    return _examples_of(ffhq(folder, image_size=8, num_test=1))


def _write_folder(rng: Random, folder: Path) -> None:
    for name in ("a", "b", "c"):
        image = Image.fromarray(_levels(8, 8, 3)).convert(rng.choice(("RGB", "L", "P")))
        image.save(
            folder / f"{name}.{rng.choice(('png', 'png', 'jpg')) if image.mode != 'P' else 'png'}"
        )


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _spoil_folder(rng: Random, folder: Path) -> None:
    """Changed PNG images whose chunks have right checksums."""
    width, height = (rng.choice((1, 8, 10**4, 12_000, 10**5, 2**31 - 1)) for _ in range(2))
    header = struct.pack(
        ">IIBBBBB",
        width,
        height,
        rng.choice((1, 2, 4, 8, 16, 3)),
        rng.randrange(8),
        0,
        0,
        rng.randrange(3),
    )
    chunks = [_png_chunk(b"IHDR", header)]
    if rng.random() < 0.5:
        chunks.append(_png_chunk(b"PLTE", bytes(range(256)) * 3))
    extra = zlib.compress(bytes(10**7), 1)
    others = (
        (b"zTXt", b"a\0\0" + extra),
        (b"iCCP", b"a\0\0" + extra),
        (b"eXIf", _levels(50).tobytes()),
        (b"tRNS", b"\0" * 9),
    )
    chunks += [_png_chunk(*rng.choice(others)) for _ in range(rng.randrange(3))]
    body = zlib.compress(bytes(rng.choice((0, 100, 10**6, 10**8))), 1)
    image = b"\x89PNG\r\n\x1a\n" + b"".join(
        [*chunks, _png_chunk(b"IDAT", body), _png_chunk(b"IEND", b"")]
    )
    rng.choice(sorted(folder.iterdir())).unlink()
    (folder / "b.png").write_bytes(image)


def _read_folder(folder: Path) -> object:
    from score_sde.data import folder as folder_source

    return [_examples_of(folder_source(folder, image_size=size)) for size in (None, 4)]


def _read_faces(folder: Path) -> object:
    from score_sde.data.named.faces import celebahq

    return _examples_of(celebahq(folder, image_size=8, num_test=1))


def _write_celeba(rng: Random, folder: Path) -> None:
    (folder / "img_align_celeba").mkdir()
    for part in range(3):
        Image.fromarray(_levels(218, 178, 3)).save(folder / "img_align_celeba" / f"{part}.jpg")
    (folder / "list_eval_partition.txt").write_text("0.jpg 0\n1.jpg 1\n2.jpg 2\n")


def _read_celeba(folder: Path) -> object:
    from score_sde.data.named.celeba import celeba

    return _examples_of(celeba(folder, image_size=16))


def _write_imagenet(rng: Random, folder: Path) -> None:
    for name in ("train_data_batch_1", "val_data"):
        save = rng.choice((np.savez, np.savez_compressed))
        save(folder / f"{name}.npz", data=_levels(4, 3072), labels=np.arange(1, 5))


def _spoil_imagenet(rng: Random, folder: Path) -> None:
    with zipfile.ZipFile(folder / "val_data.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for key in ("data", "labels"):
            archive.writestr(f"{key}.npy", _some_npy(rng))


def _read_imagenet(folder: Path) -> object:
    from score_sde.data.named.imagenet import imagenet32

    return _examples_of(imagenet32(folder))


def _write_array_records(rng: Random, folder: Path) -> None:
    from score_sde.data import DataSource
    from score_sde.data.array_record import write_array_record

    source = DataSource(train=_levels(4, 8, 8, 3), test=_levels(2, 8, 8, 3), num_levels=256)
    write_array_record(source, folder / "records", png=rng.random() < 0.5)


def _read_array_records(folder: Path) -> object:
    from score_sde.data import arrayrecord

    return _examples_of(arrayrecord(folder / "records"))


def _write_metrics(rng: Random, folder: Path) -> None:
    lines = [{"step": step, "loss": 1.0 / (step + 1), "eval_loss": None} for step in range(20)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _spoil_metrics(rng: Random, folder: Path) -> None:
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines()
    place = rng.randrange(len(lines))
    lines[place] = json_text(rng, json_changed(rng, json.loads(lines[place])))
    path.write_text("\n".join(lines))


def _read_metrics(folder: Path) -> object:
    from score_sde.evaluation.plots.loss import read_metrics as curves
    from score_sde.training.tracking.metrics import read_scalars

    return curves(folder / "metrics.jsonl"), read_scalars(folder / "metrics.jsonl")


TARGETS = {
    "torch": Target(_write_torch, _read_torch, _spoil_torch),
    "torch model": Target(_write_torch, _load_torch, _spoil_torch),
    "flax": Target(_write_flax, _read_flax, _spoil_flax),
    "exported config": Target(_write_exported, _read_exported, _spoil_config),
    "exported weights": Target(_write_exported, _read_exported, _spoil_weights),
    "diffusers": Target(_write_diffusers, _read_diffusers, _spoil_diffusers),
    "reference config": Target(
        _write_reference, _read_reference, lambda rng, f: change_json(rng, f / "config.json")
    ),
    "npz": Target(_write_npz, _read_npz, _spoil_npz),
    "npy": Target(_write_npy, _read_npy, _spoil_npy),
    "idx": Target(_write_idx, _read_idx, _spoil_idx),
    "cifar10": Target(_write_cifar, _read_cifar),
    "svhn": Target(_write_svhn, _read_svhn, _spoil_svhn),
    "tfrecords": Target(_write_records, _read_records, _spoil_records),
    "folder": Target(_write_folder, _read_folder, _spoil_folder),
    "faces": Target(_write_folder, _read_faces, _spoil_folder),
    "celeba": Target(_write_celeba, _read_celeba),
    "imagenet": Target(_write_imagenet, _read_imagenet, _spoil_imagenet),
    "arrayrecord": Target(_write_array_records, _read_array_records),
    "metrics": Target(_write_metrics, _read_metrics, _spoil_metrics),
}
"""All readers by name."""
