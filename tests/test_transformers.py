"""Norms of transformers swapped in the models of Hugging Face, built from small configurations.

It needs `pip install '.[models]'`, and is skipped without it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import evonas
from benchmarks.models.without_operators import define_nms
from evonas.errors import UsageError

define_nms()
transformers: Any = pytest.importorskip("transformers", reason="pip install '.[models]'")

SMALL = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
T5 = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1}
WHISPER = {
    **{f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in (("layers", 2), ("attention_heads", 4))},
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "num_mel_bins": 8,
    "max_source_positions": 16,
    "max_target_positions": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MADE: dict[str, tuple[str, dict[str, Any], int]] = {
    "LlamaForCausalLM": ("LlamaConfig", {**SMALL, "num_key_value_heads": 2}, 5),
    "Qwen3ForCausalLM": ("Qwen3Config", {**SMALL, "num_key_value_heads": 2, "head_dim": 8}, 9),
    "GemmaForCausalLM": ("GemmaConfig", {**SMALL, "num_key_value_heads": 2, "head_dim": 8}, 5),
    "GPT2LMHeadModel": (
        "GPT2Config",
        {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 0, "eos_token_id": 1},
        5,
    ),
    "BertModel": ("BertConfig", SMALL, 5),
    "ViTModel": ("ViTConfig", {**SMALL, "image_size": 16, "patch_size": 4}, 5),
    "T5ForConditionalGeneration": (
        "T5Config",
        {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, **T5},
        12,
    ),
    "MambaForCausalLM": (
        "MambaConfig",
        {"vocab_size": 64, "hidden_size": 32, "state_size": 4, "num_hidden_layers": 2},
        3,
    ),
    "WhisperModel": ("WhisperConfig", {"vocab_size": 64, "d_model": 32, "decoder_start_token_id": 1, **WHISPER}, 12),
    "ConvNextModel": (
        "ConvNextConfig",
        {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1], "image_size": 32},
        10,
    ),
    "SwinModel": (
        "SwinConfig",
        {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
        7,
    ),
}
"""Models by class, each with its configuration and the number of norms of tokens in it."""
RMS = ("Llama", "Qwen3", "Gemma", "T5", "Mamba")
CAUSAL = ("Llama", "Qwen3", "Gemma", "GPT2", "T5", "Mamba", "Whisper")
GENERATE = ("Llama", "Qwen3", "Gemma", "GPT2", "T5", "Mamba")
IDS = torch.randint(2, 64, (2, 9), generator=torch.Generator().manual_seed(0))


def made(name: str) -> Any:
    config, settings, _ = MADE[name]
    torch.manual_seed(0)
    model = getattr(transformers, name)(getattr(transformers, config)(**settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # so that weights are not all 1
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def output(model: Any, name: str) -> Tensor:
    source = torch.Generator().manual_seed(1)
    inputs: dict[str, Tensor] = {"input_ids": IDS}
    if name.startswith(("ViT", "ConvNext", "Swin")):
        size = model.config.image_size
        inputs = {"pixel_values": torch.randn(2, 3, size, size, generator=source)}
    elif name.startswith("Whisper"):
        inputs = {"input_features": torch.randn(2, 8, 32, generator=source), "decoder_input_ids": IDS}
    elif name.startswith("T5"):
        inputs["decoder_input_ids"] = IDS
    with torch.no_grad():
        found = model(**inputs)
    value: Tensor = found.logits if hasattr(found, "logits") else found.last_hidden_state
    return value


def same_norm(name: str) -> str:
    return "rmsnorm-c" if name.startswith(RMS) else "layernorm"


@pytest.mark.parametrize("name", MADE)
def test_the_same_norm_in_its_place_changes_nothing(name: str) -> None:
    model = made(name)
    before = output(model, name)
    report = evonas.swap(model, tokens=same_norm(name))
    assert len(report.replaced) == MADE[name][2] and not report.kept
    # float32 over a few blocks: two ways to compute each norm differ by a unit or two.
    assert (output(model, name) - before).abs().max() < 1e-6 * (1 + before.abs().max())


@pytest.mark.parametrize("name", MADE)
def test_what_mixes_positions_is_refused_where_that_shows_the_future(name: str) -> None:
    model = made(name)
    if name.startswith(CAUSAL):
        with pytest.raises(UsageError, match="causal model"):
            evonas.swap(model, tokens="evonorm-s0")
    else:
        with pytest.warns(UserWarning, match="tokens depend on one another"):
            assert evonas.swap(model, tokens="evonorm-s0").replaced
    assert output(model, name).isfinite().all()


@pytest.mark.parametrize("name", [name for name in MADE if name.startswith(GENERATE)])
def test_generation_with_a_cache(name: str) -> None:
    model = made(name)
    swapped: Callable[..., Any] = copy.deepcopy(model)
    evonas.swap(swapped, tokens=same_norm(name))  # type: ignore[arg-type]  # a module
    one, other = (m.generate(IDS, max_new_tokens=6, do_sample=False, pad_token_id=0) for m in (model, swapped))
    assert torch.equal(one, other)


@pytest.mark.parametrize("layer", ["derf", "dyt", "x * sigmoid(s1 * x) / rms_c(x)"])
def test_another_layer_trains(layer: str) -> None:
    model = made("LlamaForCausalLM").train()
    evonas.swap(model, tokens=layer)
    model(input_ids=IDS, labels=IDS).loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
