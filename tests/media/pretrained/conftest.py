"""Small random networks of transformers, written once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from polymodal.media.types import RATE


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``networks("wav2vec2")`` -> its folder; also ``whisper``, ``vit``, ``resnet``."""
    t = pytest.importorskip("transformers")
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}

    def wav2vec2(folder: Path) -> None:
        config = t.Wav2Vec2Config(
            **small, conv_dim=(8,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4
        )
        t.Wav2Vec2Model(config).save_pretrained(folder)
        t.Wav2Vec2FeatureExtractor().save_pretrained(folder)

    def whisper(folder: Path) -> None:
        config = t.WhisperConfig(
            d_model=16,
            encoder_layers=2,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
            vocab_size=60,
            pad_token_id=1,
            bos_token_id=2,
            eos_token_id=3,
            decoder_start_token_id=2,
        )
        t.WhisperModel(config).save_pretrained(folder)
        t.WhisperFeatureExtractor().save_pretrained(folder)

    def vit(folder: Path) -> None:
        t.ViTModel(t.ViTConfig(**small, image_size=32, patch_size=8)).save_pretrained(folder)
        t.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)

    def resnet(folder: Path) -> None:
        config = t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic")
        t.ResNetModel(config).save_pretrained(folder)
        t.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)

    writers = {"wav2vec2": wav2vec2, "whisper": whisper, "vit": vit, "resnet": resnet}
    made: dict[str, Path] = {}

    def find(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("networks") / name
            torch.manual_seed(0)
            writers[name](made[name])
        return made[name]

    return find


@pytest.fixture(scope="session")
def noise() -> Callable[..., np.ndarray]:
    """``noise(seconds, seed)`` -> samples at 16 kHz."""

    def make(seconds: float, seed: int = 0) -> np.ndarray:
        return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)

    return make
