"""Samplers as StableHLO: drawn by jax alone, the same samples as here; for every kind
of sampler.
"""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

from score_sde.export.stablehlo import export_sampler

SCRIPT = Path(__file__).parents[2] / "scripts" / "draw_from_stablehlo.py"

ALONE = """
import sys
import jax, numpy as np
call = jax.export.deserialize(bytearray(open(sys.argv[1], "rb").read())).call
np.save(sys.argv[2], np.asarray(call(np.uint32(0), np.arange(12, dtype=np.uint32))))
np.save(sys.argv[3], np.asarray(call(np.uint32(0), np.array([7, 2], dtype=np.uint32))))
imported = {name.partition(".")[0] for name in sys.modules}
foreign = {"score_sde", "diffrax", "equinox", "flax", "optax", "orbax"} & imported
assert not foreign, foreign
"""

SAMPLERS = [
    "heun",
    *(pytest.param(name, marks=pytest.mark.slow) for name in
      ("euler_maruyama", "shark", "probability_flow", "predictor_corrector")),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_runs_where_there_is_only_jax(name, tmp_path, capfd):
    options = [f"--workdir={tiny.toy_run()}", f"--config.sampling.name={name}"]
    tiny.run("export", *options, f"--sampler={tmp_path / 'toy.stablehlo'}")
    assert "toy.stablehlo" in capfd.readouterr().out
    files = [str(tmp_path / file) for file in ("toy.stablehlo", "all.npy", "two.npy")]
    subprocess.run([sys.executable, "-c", ALONE, *files], check=True)
    drawn, two = np.load(files[1]), np.load(files[2])
    workdir = tiny.copy_of(tiny.toy_run(), tmp_path)
    tiny.run("sample", f"--workdir={workdir}", f"--config.sampling.name={name}", "--num_samples=12")
    expected = np.load(workdir / "samples" / "samples.npz")["samples"]
    np.testing.assert_allclose(drawn, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(two, drawn[[7, 2]], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_script_draws_images_and_reports_damage(tmp_path):
    file = tmp_path / "digits.stablehlo"
    tiny.run("export", f"--workdir={tiny.digits_run()}", f"--sampler={file}")
    subprocess.run([sys.executable, SCRIPT, file, "3", "5"], check=True, capture_output=True)
    images = np.load(tmp_path / "digits.npz")["samples"]
    assert images.shape == (3, 8, 8, 1) and images.dtype == np.uint8 and images.max() <= 16
    file.write_bytes(file.read_bytes()[:1000])
    done = subprocess.run([sys.executable, SCRIPT, file], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "digits.stablehlo is not an exported sampler, or damaged" in done.stderr


@pytest.mark.parametrize(("library", "message"), [
    ("flatbuffers", "reading a sampler needs jax, NumPy and flatbuffers: "),
    (None, "x is not an exported sampler, or damaged"),
])  # fmt: skip
def test_a_missing_library_is_not_damage(library, message, tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"damaged")
    for name in list(sys.modules):
        if name.startswith("jax._src.export.serialization"):
            monkeypatch.delitem(sys.modules, name)
    if library:
        monkeypatch.setitem(sys.modules, library, None)
    main = runpy.run_path(str(SCRIPT), run_name="script")["main"]
    with pytest.raises(SystemExit, match=message):
        main(str(tmp_path / "x"))
    with pytest.raises(SystemExit, match=r"cannot read .*y: .*No such file"):
        main(str(tmp_path / "y"))


def test_an_environment_with_callbacks_is_an_error(tmp_path, monkeypatch):
    monkeypatch.delenv("EQX_ON_ERROR", raising=False)
    with pytest.raises(ValueError, match="only with EQX_ON_ERROR=nan in the environment"):
        export_sampler(tmp_path / "x", lambda keys: keys)
    assert not list(tmp_path.iterdir())
