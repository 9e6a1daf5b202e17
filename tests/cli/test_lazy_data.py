"""Every command makes the same of data that stay in their file as of the same data in memory."""

import json

import numpy as np
import pytest
import tiny


@pytest.fixture(scope="module")
def workdirs(tmp_path_factory):
    """Two runs, whose data are in memory and in their file."""
    folder = tmp_path_factory.mktemp("lazy")
    np.save(folder / "points.npy", np.random.default_rng(0).normal(size=(120, 2)))
    runs = []
    for in_memory in (True, False):
        config = tiny.TOY.replace(
            '{"source": "mixture", "num_examples": 120, "seed": 1}', "{}"
        ).replace(
            "    return config\n",
            f"    config.data = "
            f'ConfigDict({{"source": "npy:{folder}/points.npy", "in_memory": {in_memory}}})\n'
            "    return config\n",
        )
        (folder / f"in_memory_{in_memory}.py").write_text(config)
        runs.append(folder / f"run_{in_memory}")
        tiny.run("train", f"--config={folder}/in_memory_{in_memory}.py", f"--workdir={runs[-1]}")
    return runs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "file"),
    [
        (["sample"], "samples/samples.npz"),
        (["likelihood", "--num_examples=5"], "likelihood_test.npz"),
        (["likelihood", "--split=train", "--num_examples=5"], "likelihood_train.npz"),
        (["encode", "--num_examples=5"], "latents/latents.npz"),
        (["interpolate", "--num_pairs=2", "--num_steps=3"], "interpolation/interpolation.npz"),
    ],
)
def test_a_command_makes_the_same_of_both(workdirs, command, file):
    found, reports = [], []
    for workdir in workdirs:
        tiny.run(*command, f"--workdir={workdir}")
        with np.load(workdir / file, allow_pickle=False) as arrays:
            found.append(dict(arrays))
        report = json.loads((workdir / "report.json").read_text(encoding="utf-8"))
        reports.append({key: value.replace(str(workdir), "") for key, value in report.items()})
    assert found[0].keys() == found[1].keys()
    for name in found[0]:
        np.testing.assert_array_equal(found[0][name], found[1][name])
    assert reports[0] == reports[1]
