"""The model card of an exported model: a README in the form that model hubs show."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from score_sde.runtime.trust import is_code
from score_sde.runtime.versions import versions

TAGS = ("score-based-generative-modeling", "diffusion", "jax")

_TEXT = """\
---
library_name: score_sde
tags: {tags}
---
# {title}

A score-based generative model (a diffusion model) of the package `score-sde`.

{facts}

## Use

```python
import jax, score_sde as ss
model = ss.load({load})
samples = ss.sample_many(jax.random.key(0), model, 16)
```

## Licence

None is stated: whoever publishes this model adds one here, and as `license:` above.
"""


def model_card(
    name: str,
    config: Mapping[str, Any],
    *,
    step: int,
    num_parameters: int,
    figures: Mapping[str, Any] | None = None,
) -> str:
    """The Markdown text, with metadata in YAML in front.

    >>> card = model_card("digits", {"sde": {"name": "vp"}}, step=7, num_parameters=1200)
    >>> print(card.splitlines()[10])
    | SDE | `vp` |

    Args:
        name: the name of the model, such as that of its folder.
        config: the resolved config, as plain values.
        step: the number of updates.
        num_parameters: the number of numbers in the parameters.
        figures: results by name, such as distances; None or empty where none are known.
    """
    text = _TEXT.format(
        tags=json.dumps(list(TAGS)),  # JSON is YAML
        title=" ".join(name.split()).replace("#", "\\#") or "Model",
        facts=_table(dict(_facts(config, step, num_parameters))),
        load=_load(name, config),
    )
    if figures:
        text += f"\n## Figures\n\n{_table({_cell(row): _cell(figures[row]) for row in figures})}\n"
    return f"{text}\n## Versions\n\n{_table({one: _cell(v) for one, v in versions().items()})}\n"


def _facts(config: Mapping[str, Any], step: int, num_parameters: int) -> Iterator[tuple[str, str]]:
    """The rows about the model."""
    for row, section, chosen in (
        ("SDE", "sde", "name"),
        ("network", "model", "name"),
        ("data", "data", "source"),
        ("objective", "objective", "name"),
        ("sampler", "sampling", "name"),
    ):
        values = config.get(section)
        if isinstance(values, Mapping) and chosen in values:
            options = {key: value for key, value in values.items() if key not in (chosen, "path")}
            shown = ", ".join(f"{key}={value}" for key, value in options.items())
            yield row, _code(values[chosen]) + (f" with {_code(shown)}" if shown else "")
    example = config.get("example")
    if isinstance(example, Mapping) and "shape" in example:
        levels = example.get("num_levels")
        kind = f"{levels} levels" if levels else "continuous"
        yield "example", f"{' × '.join(map(str, example['shape']))}, {kind}"
    yield "parameters", f"{num_parameters:,}, averaged over training"
    yield "training steps", f"{step:,}"


def _load(name: str, config: Mapping[str, Any]) -> str:
    """The arguments of ``load``, with the modules that the config needs."""
    modules = sorted(set(_modules(config)))
    return json.dumps(name) + (f", allow={json.dumps(modules)}" if modules else "")


def _modules(config: Mapping[str, Any]) -> Iterator[str]:
    """The modules of the code that a config names. The data are not needed for samples."""
    for key, value in config.items():
        if isinstance(value, Mapping) and key != "data":
            yield from _modules(value)
        elif isinstance(value, str) and is_code(value):
            yield value.partition(":")[0]


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {row} | {cell} |" for row, cell in rows.items())])


def _cell(value: Any) -> str:
    """A text in a cell of a table: one line, without its own columns."""
    return " ".join(str(value).split())[:300].replace("|", "\\|")


def _code(value: Any) -> str:
    return f"`{_cell(value).replace('`', chr(39))}`"
