"""Export well-known architectures to ONNX for speed work: batch 1, fixed shapes, random weights.

    python benchmarks/export_architectures.py FOLDER [NAME ...]

Needs packages that Tunesmith does not: torch, torchvision, timm, transformers, onnxscript. Speed
does not depend on what the weights are; accuracy is not the business of these files.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

OPSET = 18
SEED = 0
TIMM = {
    "resnet18": "resnet18",
    "resnet50": "resnet50",
    "mobilenetv2": "mobilenetv2_100",
    "mobilenetv3_large": "mobilenetv3_large_100",
    "efficientnet_b0": "efficientnet_b0",
    "densenet121": "densenet121",
    "convnext_atto": "convnext_atto",
    "vit_tiny": "vit_tiny_patch16_224",
    "swin_tiny": "swin_tiny_patch4_window7_224",
}
TORCHVISION = ("squeezenet1_1", "shufflenet_v2_x1_0")
# Layers, width, heads, width between the two products of a layer.
BERTS = {
    "bert_mini": (4, 256, 4, 1024),
    "minilm_l6": (6, 384, 12, 1536),
    "bert_base": (12, 768, 12, 3072),
}
TOKENS = 128
Network = tuple[Any, tuple[Any, ...], list[str], list[str]]


def _image_network(name: str) -> Network:
    import timm
    import torch
    import torchvision

    if name in TIMM:
        network = timm.create_model(TIMM[name], pretrained=False, exportable=True)
    else:
        network = getattr(torchvision.models, name)(weights=None)
    return network, (torch.randn(1, 3, 224, 224),), ["input"], ["logits"]


def _bert(name: str) -> Network:
    import torch
    from transformers import BertConfig, BertModel

    layers, width, heads, between = BERTS[name]
    network = BertModel(
        BertConfig(
            num_hidden_layers=layers,
            hidden_size=width,
            num_attention_heads=heads,
            intermediate_size=between,
            attn_implementation="eager",
            return_dict=False,
        )
    )
    ids = torch.randint(0, 30000, (1, TOKENS))
    arguments = (ids, torch.ones_like(ids), torch.zeros_like(ids))
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    return network, arguments, inputs, ["last_hidden_state", "pooler_output"]


def _whisper_encoder(name: str) -> Network:
    import torch
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    del name
    config = WhisperConfig(
        d_model=384,
        encoder_layers=4,
        encoder_attention_heads=6,
        encoder_ffn_dim=1536,
        attn_implementation="eager",
        return_dict=False,
    )
    features = torch.randn(1, 80, 3000)
    return WhisperEncoder(config), (features,), ["input_features"], ["last_hidden_state"]


NETWORKS: dict[str, Callable[[str], Network]] = {
    **dict.fromkeys((*TIMM, *TORCHVISION), _image_network),
    **dict.fromkeys(BERTS, _bert),
    "whisper_tiny_encoder": _whisper_encoder,
}


def export(name: str, folder: Path) -> Path:
    """Write one architecture and return its file."""
    import torch

    torch.manual_seed(SEED)
    network, arguments, inputs, outputs = NETWORKS[name](name)
    path = folder / f"{name}.onnx"
    with torch.no_grad():
        torch.onnx.export(
            network.eval(),
            arguments,
            str(path),
            input_names=inputs,
            output_names=outputs,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", choices=[*NETWORKS, []], default=[])
    given = parser.parse_args()
    warnings.filterwarnings("ignore")  # of the exporter, about itself
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in given.names or NETWORKS:
        print(export(name, given.folder))


if __name__ == "__main__":
    main()
