"""A saved model is a folder: model.safetensors (weights), model.json (everything else), log.jsonl. Never pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise

from layerwise.autoencoder import Autoencoder
from layerwise.convolution import ConvAutoencoder, ConvRBM
from layerwise.dbn import DBN
from layerwise.files import write_whole
from layerwise.layer import Layer
from layerwise.rbm import RBM, LabelledRBM
from layerwise.stack import Stack
from layerwise.train import History

if TYPE_CHECKING:
    from layerwise.estimators import Estimator

FORMAT = 1
LAYERS: dict[str, type[Layer]] = {
    kind.__name__: kind for kind in (RBM, LabelledRBM, Autoencoder, ConvRBM, ConvAutoencoder)
}


def layer_from(description: dict[str, Any]) -> Layer:
    """An untrained layer from its `to_dict`.

    Example:
        >>> layer_from(RBM(4, 2).to_dict())
        RBM(4, 2, below='bernoulli', above='bernoulli')
    """
    from layerwise.units import as_units

    settings = dict(description)
    kind = LAYERS[settings.pop("layer")]
    settings |= {side: as_units(settings[side]) for side in ("below", "above") if side in settings}
    return kind(**settings)


def stack_from(description: dict[str, Any]) -> Stack:
    """An untrained stack from `describe_stack`."""
    layers = [layer_from(each) for each in description["layers"]]
    return DBN(*layers) if description["kind"] == "DBN" else Stack(*layers)


def describe_stack(stack: Stack) -> dict[str, Any]:
    """JSON-able description of a stack."""
    return {"kind": type(stack).__name__, "layers": [layer.to_dict() for layer in stack.layers]}


def save(estimator: Estimator, path: str | Path, *, overwrite: bool = False) -> Path:
    """Writes a fitted estimator into the folder `path`, whole or not at all; files of others in it are left alone.

    Raises:
        FileExistsError: If `path` is a file, or a model is there and `overwrite` is False.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise FileExistsError(f"{path} is a file; a model is saved into a folder. Choose another name.")
    if (path / "model.json").exists() and not overwrite:
        raise FileExistsError(f"{path} holds a model already. Choose another folder, or pass overwrite=True.")
    path.mkdir(parents=True, exist_ok=True)
    description = json.dumps(_describe(estimator), indent=1)
    write_whole({path / "model.safetensors": serialise(_tensors(estimator)), path / "model.json": description})
    if not (path / "checkpoints").exists():  # else a Run keeps the log
        lines = [
            json.dumps({"stage": history.name, **entry}) for history in estimator.histories_ for entry in history.epochs
        ]
        (path / "log.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return path


def load(path: str | Path, kinds: Mapping[str, type[Estimator]]) -> Any:
    """The estimator, one of `kinds` by name, that `save` wrote into the folder `path`.

    Raises:
        FileNotFoundError: If there is no saved model.
        ValueError: If the files are damaged or of an unknown format.
    """
    path = Path(path)
    if not (path / "model.json").exists():
        raise FileNotFoundError(
            f"{path} holds no model: model.json is missing. It is written by save(), or by layerwise train."
        )
    try:
        description = json.loads((path / "model.json").read_text())
        if description["format"] > FORMAT:
            raise ValueError(
                f"{path} has format {description['format']}, newer than this layerwise reads: upgrade layerwise."
            )
        params = {name: _from_json(value) for name, value in description["params"].items()}
        estimator = kinds[description["estimator"]](**params)
        for name, value in description["fitted"].items():
            setattr(estimator, name, _from_json(value))
        estimator._rebuild(description)
        tensors = load_file(path / "model.safetensors")
        for name, module in estimator._modules_.items():
            own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
            module.load_state_dict(own)
    except (KeyError, TypeError, json.JSONDecodeError, SafetensorError, RuntimeError, OSError) as error:
        raise ValueError(f"{path} is damaged, and was not loaded ({type(error).__name__}: {error}).") from error
    return estimator


def fingerprint(estimator: Estimator) -> str:
    """A name of what the model has learned: the same after saving and loading, and another one for other weights.

    Example:
        >>> from layerwise.estimators import RBMTransformer
        >>> X = np.random.RandomState(0).rand(20, 4)
        >>> one, two = (RBMTransformer(2, epochs=1, random_state=seed).fit(X) for seed in (0, 1))
        >>> fingerprint(one) == fingerprint(one), fingerprint(one) == fingerprint(two)
        (True, False)
    """
    digest = hashlib.sha256(type(estimator).__name__.encode())
    for name, value in sorted(_tensors(estimator).items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def _tensors(estimator: Estimator) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value.detach().cpu().contiguous().clone()
        for name, module in estimator._modules_.items()
        for key, value in module.state_dict().items()
    }


def _describe(estimator: Estimator) -> dict[str, Any]:
    fitted = {
        name: _to_json(value)
        for name, value in vars(estimator).items()
        if name.endswith("_") and not name.startswith("_") and not isinstance(value, torch.nn.Module)
    }
    return {
        "format": FORMAT,
        "estimator": type(estimator).__name__,
        "params": {name: _plain(value) for name, value in estimator.get_params(deep=False).items()},
        "fitted": fitted,
        "stack": describe_stack(estimator.stack_) if hasattr(estimator, "stack_") else None,
        "saved": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: version(name) for name in ("torch", "scikit-learn", "numpy")}
        | {"layerwise": _own_version()},
    }


def _own_version() -> str:
    from layerwise import __version__

    return __version__


def _plain(value: Any) -> Any:
    """A parameter as JSON holds it; a random state that is no number is not kept."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(each) for each in value]
    if isinstance(value, dict) and not all(isinstance(key, str) for key in value):  # JSON knows no other keys
        return {"pairs": [[_plain(key), _plain(each)] for key, each in value.items()]}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else None


def _to_json(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": str(value.dtype)}
    if isinstance(value, list) and value and isinstance(value[0], History):
        return {"histories": [asdict(each) for each in value]}
    return _plain(value)


def _from_json(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"array", "dtype"}:
        return np.array(value["array"], dtype=value["dtype"])
    if isinstance(value, dict) and set(value) == {"histories"}:
        return [History(**each) for each in value["histories"]]
    if isinstance(value, dict) and set(value) == {"pairs"}:
        return dict(value["pairs"])
    return value


__all__ = ["describe_stack", "fingerprint", "layer_from", "load", "save", "stack_from"]
