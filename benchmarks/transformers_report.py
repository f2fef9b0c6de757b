"""The whole report of networks of the library `transformers`, and how much LRP and DeepLift lose on them.

Small networks with random weights, made from their configurations: nothing is downloaded. For each it prints the seconds of
`layerwise.explain` with all pages, the layers that it showed, what was left out, and the largest error of a map of LRP and of
DeepLift over four rows: what is missing of the score, or of the difference to the baseline, as a share of it.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
import transformers as hf

from layerwise import compute, explain, lens
from layerwise.lens.attribution import LRP, DeepLift
from layerwise.lens.question import looks_up

ROWS, CLASSES, WORDS, STEPS = 150, 4, 60, 12
SMALL = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
TEXT = {"vocab_size": WORDS, "max_position_embeddings": 32, "pad_token_id": 0, "num_labels": CLASSES}
PICTURE = {"image_size": 32, "num_labels": CLASSES}

RANDOM = np.random.default_rng(0)
TOKENS = RANDOM.integers(1, WORDS, (ROWS, STEPS))
PICTURES = RANDOM.random((ROWS, 3, 32, 32), dtype=np.float32)
CLIPS = RANDOM.standard_normal((ROWS, 1600), dtype=np.float32)

NETS: dict[str, tuple[Callable[[], torch.nn.Module], np.ndarray]] = {
    "BERT": (lambda: hf.BertForSequenceClassification(hf.BertConfig(**SMALL, **TEXT)), TOKENS),
    "DistilBERT": (
        lambda: hf.DistilBertForSequenceClassification(
            hf.DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=64, **TEXT)
        ),
        TOKENS,
    ),
    "GPT-2": (lambda: hf.GPT2ForSequenceClassification(hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, **TEXT)), TOKENS),
    "Llama": (lambda: hf.LlamaForSequenceClassification(hf.LlamaConfig(**SMALL, **TEXT)), TOKENS),
    "ViT": (lambda: hf.ViTForImageClassification(hf.ViTConfig(patch_size=8, **SMALL, **PICTURE)), PICTURES),
    "ResNet": (
        lambda: hf.ResNetForImageClassification(
            hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=CLASSES)
        ),
        PICTURES,
    ),
    "ConvNeXt": (
        lambda: hf.ConvNextForImageClassification(
            hf.ConvNextConfig(hidden_sizes=[8, 16, 16, 16], depths=[1, 1, 1, 1], patch_size=2, **PICTURE)
        ),
        PICTURES,
    ),
    "Swin": (
        lambda: hf.SwinForImageClassification(
            hf.SwinConfig(patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4, **PICTURE)
        ),
        PICTURES,
    ),
    "wav2vec 2.0": (
        lambda: hf.Wav2Vec2ForSequenceClassification(
            hf.Wav2Vec2Config(
                conv_dim=(16, 16), conv_stride=(10, 5), conv_kernel=(10, 5), num_feat_extract_layers=2,
                num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=4, classifier_proj_size=16, num_labels=CLASSES,
                **SMALL,
            )
        ),
        CLIPS,
    ),
}  # fmt: skip


def error(method: type, net: torch.nn.Module, rows: torch.Tensor) -> str:
    """The largest error of its maps; or why there are none."""
    layer = None if rows.is_floating_point() else looks_up(net, rows)
    try:
        return f"{float(method(net, layer=layer).attribute(rows, target=1).error.max()):.0e}"
    except ValueError as refused:
        return str(refused)


@click.command()
@click.option("--net", "names", multiple=True, type=click.Choice(list(NETS)), help="May be repeated.  [default: all]")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder to keep the reports in.  [default: they are not kept]"
)
def main(names: tuple[str, ...], out: Path | None) -> None:
    """Measure and print."""
    warnings.simplefilter("ignore")
    for name in names or NETS:
        make, rows = NETS[name]
        with compute.session(0, 1), tempfile.TemporaryDirectory() as folder:
            net = make().eval()
            for weight in net.parameters():
                if weight.ndim > 1:  # further from 0 than they start, so that there is something to explain
                    torch.nn.init.normal_(weight, std=0.15)
            few, data = torch.as_tensor(rows[:4]), (rows, np.arange(ROWS) % CLASSES)
            lost = ", ".join(f"{method.__name__} {error(method, net, few)}" for method in (LRP, DeepLift))
            began = time.perf_counter()
            explain(net, data, (out or Path(folder)) / name.replace(" ", "-"))
            seconds = time.perf_counter() - began
        print(f"{name}: {seconds:.0f} s; error {lost}; {', '.join(lens.reached(net, few))}", flush=True)


if __name__ == "__main__":
    main()
