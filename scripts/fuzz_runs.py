"""The readers of runs for ``scripts/fuzz.py``: checkpoints, snapshots, shards, losses; and
further folders.

The files of a run have a manifest: loaded values that differ from the saved ones are a
fault.
"""

import atexit
import functools
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from random import Random

import numpy as np
from fuzz_targets import (
    CANARY,
    GOLDEN,
    INTERESTING,
    PLACES_OF_NAMES,
    Target,
    _examples_of,
    _levels,
    change_json,
    json_changed,
    json_text,
    mutated,
    value_of_any_kind,
)

TRAINING = """
import json, sys, jax
from pathlib import Path
import numpy as np
from score_sde import LearnedDequantizer, load
from score_sde.cli import main

folder, own = Path(sys.argv[1]), {own!r}
jax.config.update("jax_disable_most_optimizations", True)

def run(*words):
    if main(words):
        raise SystemExit("score-sde " + " ".join(words))

LENGTH = ["--config.training.num_steps=4", "--config.training.batch_size=8", "--config.training.log_every=1",
          "--config.training.eval_every=2", "--config.training.checkpoint_every=2"]

if own == "run":
    run("train", "--config=toy/swiss_roll", f"--workdir={{folder}}", *LENGTH, "--config.training.snapshot_every=2",
        "--config.training.averages=('power:0.05','power:0.15')", "--config.model.hidden_sizes=(8,)",
        "--config.model.embedding_dim=4", "--config.training.sample_every=0", "--config.data.num_examples=120",
        "--config.eval.batch_size=8", "--config.sampling.num_samples=8")
    params = load(folder).params
else:
    model = folder / "model"
    run("train", "--config=digits/vp", f"--workdir={{model}}", *LENGTH, "--config.model.channels=8",
        "--config.model.channel_mult=(1,)", "--config.model.attention_resolutions=()",
        "--config.training.sample_every=0", "--config.eval.max_examples=8", "--config.eval.batch_size=8")
    run("train-dequantizer", "--config=dequantizer/digits", f"--workdir={{model}}", *LENGTH,
        f"--output={{folder}}", "--config.model.channels=4", "--config.model.num_couplings=2",
        "--config.objective.num_times=2", "--overwrite")
    import shutil
    shutil.rmtree(model)
    params = load(folder, LearnedDequantizer).params
leaves = {{jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}}
np.savez(sys.argv[2], **leaves)
"""  # noqa: E501
"""A tiny run in the folder of its first argument, and its averaged parameters in the
file of the second.
"""


@functools.cache
def _folder() -> Path:
    found = Path(tempfile.mkdtemp(prefix="score_sde_fuzz_"))
    process = os.getpid()  # a case is a process too, and leaves the folder to its parent
    atexit.register(
        lambda: shutil.rmtree(found, ignore_errors=True) if os.getpid() == process else None
    )
    return found


@functools.cache
def trained(kind: str) -> tuple[Path, dict[str, np.ndarray]]:
    """The workdir of a tiny run, or the folder of a dequantizer; and its parameters, by path."""
    folder, params = _folder() / kind, _folder() / f"{kind}.npz"
    command = [sys.executable, "-c", TRAINING.format(own=kind), str(folder), str(params)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"no {kind} to damage: {done.stderr[-1000:]}")
    with np.load(params) as file:
        return folder, dict(file)


def _check_same(kind: str, params: object) -> None:
    """Raise ``AssertionError``, a fault, where loaded parameters differ from the saved ones."""
    import jax

    saved = trained(kind)[1]
    found = {
        jax.tree_util.keystr(path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    if found.keys() != saved.keys():
        raise AssertionError(
            f"loaded {sorted(found.keys() ^ saved.keys())[:3]} too many or too few"
        )
    for name, leaf in found.items():
        if (
            np.asarray(leaf).dtype != saved[name].dtype
            or np.asarray(leaf).tobytes() != saved[name].tobytes()
        ):
            raise AssertionError(f"loaded other values of {name} than were saved")


# --- checkpoints ---


def _write_run(rng: Random, folder: Path) -> None:
    shutil.copytree(trained("run")[0] / "checkpoints", folder / "run" / "checkpoints")


def _write_dequantizer(rng: Random, folder: Path) -> None:
    shutil.copytree(trained("dequantizer")[0] / "checkpoints", folder / "run" / "checkpoints")


def _newest(folder: Path) -> Path:
    return max((folder / "run" / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))


def _seal_again(checkpoint: Path, config: object, **changes: object) -> None:
    """Write a config and its manifest, as the sender of a model may."""
    from score_sde.runtime.fingerprints import digest

    (checkpoint / "config" / "metadata").write_text(json.dumps(config))
    path = checkpoint / "seal" / "metadata"
    seal = {**json.loads(path.read_text()), "config": digest(config), **changes}
    del seal["sum"]
    path.write_text(json.dumps({**seal, "sum": digest(seal)}))


def _spoil_checkpoint(rng: Random, folder: Path) -> None:
    """Another config or manifest with right checksums; or a file that is removed, emptied,
    moved or replaced by a folder.
    """
    checkpoint = _newest(folder)
    config = json.loads((checkpoint / "config" / "metadata").read_text())
    seal = json.loads((checkpoint / "seal" / "metadata").read_text())
    kind = rng.randrange(5)
    if kind == 0:
        *sections, key = rng.choice(PLACES_OF_NAMES).split(".")
        place = config.setdefault(sections[0], {}) if sections else config
        code = rng.choice((f"{CANARY}:run", "os:system", f"{CANARY}.x:y"))
        if isinstance(place, dict):
            place[key] = rng.choice((code, {"name": code, "command": "touch PWNED"}))
        _seal_again(checkpoint, config)
    elif kind == 1:
        _seal_again(checkpoint, json_changed(rng, config))
    elif kind == 2:
        part = rng.choice(("arrays", "prints", "metrics", "about"))
        _seal_again(checkpoint, config, **{part: json_changed(rng, seal[part])})
    elif kind == 3:
        files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
        path, other = rng.choice(files), rng.choice(files)
        how = rng.randrange(5)
        content = other.read_bytes()
        path.unlink()
        if how == 1:
            path.touch()
        elif how == 2:
            path.mkdir()
        elif how == 3:
            path.write_bytes(content)
        elif how == 4:
            path.symlink_to(rng.choice((path.name, "/dev/zero", "/etc/passwd", other)))
    else:
        texts = [
            path
            for path in sorted(checkpoint.rglob("*"))
            if path.is_file() and path.read_bytes()[:1] == b"{"
        ]
        change_json(rng, rng.choice(texts))


def _read_run(folder: Path) -> object:
    import score_sde as ss

    model = ss.load(folder / "run")
    _check_same("run", model.params)
    return model


def _read_averages(folder: Path) -> object:
    import jax

    from score_sde.training import restore_for_sampling

    found, saved = (
        restore_for_sampling(place / "checkpoints", average="power:0.15")
        for place in (folder / "run", trained("run")[0])
    )
    if jax.tree.map(lambda leaf: leaf.tobytes(), found.ema_params) != jax.tree.map(
        lambda leaf: leaf.tobytes(), saved.ema_params
    ):
        raise AssertionError("loaded values differ from the saved ones")
    return found


def _read_dequantizer(folder: Path) -> object:
    import score_sde as ss

    found = ss.load(folder / "run", ss.LearnedDequantizer)
    _check_same("dequantizer", found.params)
    return found


# --- snapshots ---


def _write_snapshots(rng: Random, folder: Path) -> None:
    shutil.copytree(trained("run")[0] / "snapshots", folder / "snapshots")


def _spoil_snapshots(rng: Random, folder: Path) -> None:
    """Another card of a file with the right checksum, or another header of its tensors."""
    from score_sde.export.tensor_file import CARD, _checksum

    path = rng.choice(sorted((folder / "snapshots").iterdir()))
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    if rng.random() < 0.6:
        card = json.loads(header["__metadata__"][CARD])
        del card["checksum"]
        part = rng.choice(("facts", "fingerprints"))
        if rng.random() < 0.7:
            card[part] = json_changed(rng, card[part])
        else:
            card["facts"][rng.choice(("step", "sigma_rel"))] = value_of_any_kind(rng)
        header["__metadata__"][CARD] = json.dumps(
            {**card, "checksum": _checksum(card)}, sort_keys=True
        )
        text = json.dumps(header).encode()
    else:
        text = json_text(rng, json_changed(rng, header)).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def _read_snapshots(folder: Path) -> object:
    from score_sde.training import reconstruct
    from score_sde.training.snapshots import find_snapshots, open_snapshot

    saved_files = trained("run")[0] / "snapshots"
    for snapshot in find_snapshots(folder / "snapshots"):
        with (
            open_snapshot(snapshot.path) as file,
            open_snapshot(saved_files / snapshot.path.name) as saved,
        ):
            for name in file.names:
                if file.read(name).tobytes() != saved.read(name).tobytes():
                    raise AssertionError(f"loaded other values of {name} than were saved")
    return reconstruct(folder / "snapshots", sigma_rel=0.1)


# --- shards of sampling and likelihoods ---

PIECES = {"samples": _levels(8, 64, 64, 1).astype(np.float32), "nfe": np.arange(8)}


def _pieces(folder: Path) -> object:
    from score_sde.evaluation.shards import Shards

    return Shards(folder, "0123456789abcdef")


def _write_pieces(rng: Random, folder: Path) -> None:
    for start in (0, 3, 6):
        _pieces(folder).write(  # type: ignore[attr-defined]
            start, {name: rows[start : start + 3] for name, rows in PIECES.items()}
        )


def _spoil_pieces(rng: Random, folder: Path) -> None:
    """Other members of an archive, with the checksums of the former members or right ones;
    or no member.
    """
    path = rng.choice(sorted(folder.rglob("*.npz")))
    if rng.random() < 0.4:
        data = bytearray(path.read_bytes())
        start = rng.choice((data.find(b"'descr'"), data.rfind(b"'descr'")))
        place = start + rng.randrange(75)
        data[place] = rng.choice(b"0123456789<>,()fiuOVTF ")
        path.write_bytes(data)
        return
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    members[name] = mutated(rng, members[name])
    if rng.random() < 0.3:
        members[rng.choice(("x.npy", "../x.npy", "x", "/x.npy", name.removesuffix(".npy")))] = (
            members.pop(name)
        )
    with zipfile.ZipFile(
        path, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    ) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _read_pieces(folder: Path) -> object:
    pieces = _pieces(folder)
    before = len(list(folder.rglob("*.npz*")))
    sizes = {path.name: path.read_bytes() for path in folder.rglob("*.npz")}
    try:
        dropped = pieces.drop_damaged()  # type: ignore[attr-defined]
        if not dropped and sizes == _sizes_of(folder):
            return [dict(piece) for piece in pieces.read(8)]  # type: ignore[attr-defined]
    finally:
        if len(list(folder.rglob("*.npz*"))) != before:
            raise AssertionError("a part was removed")
    raise ValueError(f"{len(dropped)} of the parts are damaged")


def _sizes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.npz")}


def _read_flipped_pieces(folder: Path) -> object:
    """Shards whose bytes are changed at random read as they were written, or not at all."""
    pieces = _read_pieces(folder)
    for name, rows in PIECES.items():
        found = np.concatenate([piece[name] for piece in pieces])  # type: ignore[attr-defined]
        if found.dtype != rows.dtype or not np.array_equal(found, rows[: len(found)]):
            raise AssertionError(f"read other values of {name} than were written")
    return pieces


def _flip_header(rng: Random, folder: Path) -> None:
    """Change one character of the header of an array, which states its type and shape."""
    path = rng.choice(sorted(folder.rglob("*.npz")))
    data = bytearray(path.read_bytes())
    start = rng.choice((data.find(b"'descr'"), data.rfind(b"'descr'")))
    data[start + rng.randrange(75)] = rng.choice(b"0123456789<>,()fiuOVTF ")
    path.write_bytes(data)


# --- the losses of a run ---


def _write_losses(rng: Random, folder: Path) -> None:
    from score_sde.objectives.noise_levels import name_of

    lines = [
        {"step": step, "loss": 1.0 / (step + 1), "eval_loss": 0.5}
        | {
            f"{prefix}{name_of(level)}": 1.0 + level / 9
            for level in (-4.0, 0.0, 3.0)
            for prefix in ("", "eval_")
        }
        for step in range(20)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _spoil_losses(rng: Random, folder: Path) -> None:
    path = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in rng.sample(lines, rng.choice((1, 1, 5, 20))):
        key = rng.choice(list(line))
        if rng.random() < 0.3:
            line[rng.choice((f"{key}x", key[:-1], f"{key}9999", "loss_at_log_snr_inf"))] = line.pop(
                key
            )
        else:
            line[key] = rng.choice(
                (value_of_any_kind(rng), 1e308, -1e308, 5e-324, 0.0, 10**300, -1, float("nan"))
            )
    path.write_text("\n".join(json_text(rng, line) for line in lines))


def _fonts() -> None:
    """Let matplotlib look for its fonts, which runs a command, before the cases."""
    os.environ["MPLCONFIGDIR"] = str(_folder())
    importlib.import_module("matplotlib.backends.backend_agg")
    importlib.import_module("matplotlib.font_manager")


def _plot_losses(folder: Path) -> object:
    from score_sde.evaluation.plots.overview import draw_losses

    return draw_losses(folder, folder / "metrics.jsonl")


# --- further folders ---


def _write_database(rng: Random, folder: Path) -> None:
    for split in ("train", "val"):
        (folder / f"tower_{split}_lmdb").mkdir()
        shutil.copy(GOLDEN / "lsun.mdb", folder / f"tower_{split}_lmdb" / "data.mdb")


def _spoil_database(rng: Random, folder: Path) -> None:
    """Change numbers in the headers of pages, which locate other pages; or cut the file."""
    path = folder / "tower_train_lmdb" / "data.mdb"
    data = bytearray(path.read_bytes())
    if rng.random() < 0.2:
        del data[rng.randrange(len(data)) :]
    for _ in range(rng.choice((1, 2, 5))):
        page = rng.randrange(max(1, len(data) // 4096)) * 4096
        size = rng.choice((1, 2, 4, 8))
        place = page + rng.choice((rng.randrange(16), rng.randrange(200), rng.randrange(4096)))
        data[place : place + size] = (
            rng.choice((*INTERESTING, rng.randrange(99))) % 256**size
        ).to_bytes(size, "little")
    path.write_bytes(data)


def _read_database(folder: Path) -> object:
    from score_sde.data.named.lsun import lsun

    return _examples_of(lsun(folder, category="tower", image_size=4))


SCHEDULERS = (
    "DDPMScheduler",
    "DDIMScheduler",
    "PNDMScheduler",
    "ScoreSdeVeScheduler",
    "EulerDiscreteScheduler",
    "X",
)

OPTIONS = {
    "num_train_timesteps": (1, 10, 1000, 0, 10**9, "1000"),
    "timesteps": (500,),
    "beta_start": (1e-4, 0.0, 1.0, -1, 1e300),
    "beta_end": (0.02, 0.0, 2.0, float("nan")),
    "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "x", 3),
    "trained_betas": (None, [0.1] * 1000, [0.1] * 10**5, [], [[0.1]], ["x"], [2.0]),
    "prediction_type": ("epsilon", "sample", "v_prediction", "flow"),
    "rescale_betas_zero_snr": (True, False, "x"),
    "variance_type": ("fixed_small", "fixed_large", "learned_range"),
    "clip_sample": (True, False),
    "clip_sample_range": (1.0, -1.0, 1e300),
    "thresholding": (True, False),
    "sigma_max": (1348.0, 0.0, -1.0),
    "_class_name": SCHEDULERS,
}


def _write_pipeline(rng: Random, folder: Path) -> None:
    """A pipeline with weights in two shards."""
    from safetensors.numpy import load_file, save_file

    golden, stem = GOLDEN / "diffusers_ddpm", "diffusion_pytorch_model"
    for part in ("unet", "scheduler"):
        (folder / part).mkdir()
    shutil.copy(golden / "config.json", folder / "unet")
    shutil.copy(golden / "scheduler_config.json", folder / "scheduler")
    parts = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "DDPMPipeline", **parts}))
    tensors = load_file(golden / f"{stem}.safetensors")
    places = {
        name: f"{stem}-{1 + row % 2:05}-of-00002.safetensors"
        for row, name in enumerate(sorted(tensors))
    }
    for shard in set(places.values()):
        save_file(
            {name: tensors[name] for name, place in places.items() if place == shard},
            folder / "unet" / shard,
        )
    index = {
        "metadata": {"total_size": sum(value.nbytes for value in tensors.values())},
        "weight_map": places,
    }
    (folder / "unet" / f"{stem}.safetensors.index.json").write_text(json.dumps(index))


def _spoil_pipeline(rng: Random, folder: Path) -> None:
    """Another index, another scheduler, or other parts of the pipeline."""
    kind = rng.randrange(4)
    index = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    if kind == 0:
        change_json(rng, index)
    elif kind == 1:
        found = json.loads(index.read_text())
        strange = (
            "../x.safetensors",
            "/etc/passwd",
            "none.safetensors",
            "a.pkl",
            "",
            "\0.safetensors",
            3,
            [],
            None,
        )
        for name in rng.sample(sorted(found["weight_map"]), 3):
            found["weight_map"][name] = rng.choice(strange)
        index.write_text(json.dumps(found))
    elif kind == 2:
        names = rng.sample(sorted(OPTIONS), 4)
        path = folder / "scheduler" / "scheduler_config.json"
        path.write_text(json_text(rng, {name: rng.choice(OPTIONS[name]) for name in names}))
    else:
        change_json(
            rng,
            rng.choice(
                (folder / "model_index.json", folder / "scheduler" / "scheduler_config.json")
            ),
        )


def _read_pipeline(folder: Path) -> object:
    import score_sde as ss

    return ss.load(folder)


RUN_TARGETS = {
    "run": Target(_write_run, _read_run, _spoil_checkpoint, lambda: trained("run")),
    "run's average": Target(_write_run, _read_averages, _spoil_checkpoint, lambda: trained("run")),
    "dequantizer": Target(
        _write_dequantizer, _read_dequantizer, _spoil_checkpoint, lambda: trained("dequantizer")
    ),
    "snapshots": Target(
        _write_snapshots, _read_snapshots, _spoil_snapshots, lambda: trained("run")
    ),
    "pieces": Target(_write_pieces, _read_pieces, _spoil_pieces),
    "flipped pieces": Target(_write_pieces, _read_flipped_pieces),
    "headers of pieces": Target(_write_pieces, _read_flipped_pieces, _flip_header),
    "losses": Target(_write_losses, _plot_losses, _spoil_losses, _fonts),
    "lsun": Target(_write_database, _read_database, _spoil_database),
    "pipeline": Target(_write_pipeline, _read_pipeline, _spoil_pipeline),
}
"""All readers by name."""
