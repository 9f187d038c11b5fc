"""The decoder against transformers' Llama: whole texts, token by token, every RoPE type, shared layers."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.convert import build_model, to_checkpoint
from edge.checkpoints.hugging_face import load_checkpoint
from edge.model.decoder import Decoder, named_linears
from edge.model.rope import rope_tables
from edge.model.tokenizer import Tokenizer
from runtime_tests.checkpoints.hf_models import logits, random_llama, reload, save_llama
from runtime_tests.conftest import shared_data
from runtime_tests.tiny import tiny_config, tiny_model

#: Bound on the difference of logits of real and random models, whose logits are of the order of 10.
TOLERANCE = 1e-4
TOKENS = torch.randint(99, (1, 50), generator=torch.Generator().manual_seed(0))

ROPES = {
    "default": None,
    "theta": {"rope_type": "default", "rope_theta": 500.0},
    "linear": {"rope_type": "linear", "factor": 3.0, "rope_theta": 10000.0},
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 1000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    "yarn": {
        "rope_type": "yarn",
        "rope_theta": 1000.0,
        "factor": 4.0,
        "beta_fast": 4,
        "original_max_position_embeddings": 16,
    },
}


def step_by_step(model: Decoder, tokens: Tensor, prefill: int) -> Tensor:
    """Logits [1, T, vocab] through the KV cache: ``prefill`` tokens at once, five more, then one by one."""
    model.with_cache(tokens.shape[1])
    lengths = [prefill, 5, *[1] * (tokens.shape[1] - prefill - 5)]
    starts = itertools.accumulate(lengths, initial=0)
    with torch.no_grad():
        chunks = zip(tokens.split(lengths, dim=1), starts, strict=False)
        return torch.cat([model(chunk, start) for chunk, start in chunks], dim=1)


def assert_same_logits(model: Decoder, expected: Tensor, tokens: Tensor) -> None:
    assert expected.abs().max() > 1  # the comparison means something
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), expected, atol=TOLERANCE, rtol=0)
    prefill = tokens.shape[1] - 12
    torch.testing.assert_close(step_by_step(model, tokens, prefill), expected, atol=TOLERANCE, rtol=0)


def test_real_model_on_real_text() -> None:
    directory = shared_data("TinyStories-656K")
    checkpoint = load_checkpoint(directory)
    assert checkpoint.tokenizer is not None
    text = shared_data("tinystories/heldout.txt").read_text()[:4000]
    ids = [checkpoint.config.bos_id, *Tokenizer(checkpoint.tokenizer).encode(text)]
    tokens = torch.tensor([ids[:500]])
    model, expected = build_model(checkpoint), logits(reload(directory), tokens)
    assert_same_logits(model, expected, tokens)
    token_by_token = step_by_step(model, tokens[:, :64], prefill=1)
    torch.testing.assert_close(token_by_token, expected[:, :64], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("rope", ROPES)
def test_rope_types(rope: str, tmp_path: Path) -> None:
    hf = save_llama(tmp_path, rope_parameters=ROPES[rope])
    assert_same_logits(build_model(load_checkpoint(tmp_path)), logits(hf, TOKENS), TOKENS)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_key_value_heads": 4},
        {"num_key_value_heads": 1},
        {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": None},
        {"tie_word_embeddings": True},
        {"head_dim": 2},
        {"hidden_size": 12, "head_dim": None, "num_attention_heads": 2},
        {"vocab_size": 100, "intermediate_size": 1, "num_hidden_layers": 1},
        {"rms_norm_eps": 0.1},
    ],
    ids=str,
)
def test_shapes(changes: dict, tmp_path: Path) -> None:
    hf = save_llama(tmp_path, **changes)
    assert_same_logits(build_model(load_checkpoint(tmp_path)), logits(hf, TOKENS), TOKENS)


def test_batches_do_not_mix() -> None:
    model, batch = tiny_model(), torch.randint(304, (3, 20))
    with torch.no_grad():
        torch.testing.assert_close(model(batch)[1:2], model(batch[1:2]), atol=1e-5, rtol=0)


def test_shared_layers_equal_the_unrolled_model() -> None:
    """The reference is a Llama of transformers that has every layer twice in a row."""
    shared = tiny_model(tiny_config(layer_sharing=True, n_layers=3, tied_embedding=False))
    c = shared.config
    unrolled = random_llama(
        vocab_size=c.vocab_size,
        hidden_size=c.dim,
        intermediate_size=c.ffn_dim,
        num_hidden_layers=6,
        rms_norm_eps=c.norm_eps,
    )
    for name, parameter in unrolled.named_parameters():
        parts = name.removeprefix("model.").split(".")
        if parts[0] == "layers":
            parts[1] = str(int(parts[1]) // 2)
        parameter.data = shared.get_parameter(".".join(parts)).data
    tokens = torch.randint(c.vocab_size, (1, 30), generator=torch.Generator().manual_seed(1))
    assert_same_logits(shared, logits(unrolled, tokens), tokens)


def test_positions_beyond_the_model_or_the_cache_are_refused() -> None:
    model, tokens = tiny_model(), torch.zeros(1, 5, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"60\.\.64 are beyond the model's 64"):
        model(tokens, 60)
    with pytest.raises(ValueError, match=r"1\.\.64 positions, not 65"):
        model.with_cache(65)
    model.with_cache(8)
    with pytest.raises(ValueError, match=r"4\.\.8 do not fit a cache of 8"):
        model(tokens, 4)
    with pytest.raises(ValueError, match="one sequence, not a batch of 2"):
        model(tokens.expand(2, 5))


def test_fresh_weights_are_reproducible_and_small_on_the_residual() -> None:
    first, again, other = (Decoder(tiny_config()).reset_parameters(seed) for seed in (1, 1, 2))
    linears = named_linears(first)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.embed_tokens.weight, other.embed_tokens.weight)
    ratio = linears["layers.0.mlp.up_proj"].weight.std() / linears["layers.0.mlp.down_proj"].weight.std()
    assert ratio.item() == pytest.approx(2, rel=0.1)  # sqrt(2 * 2 layers)


def test_seven_linears_per_layer_take_a_format() -> None:
    model = tiny_model()
    linears = named_linears(model)
    assert len(linears) == 7 * model.config.n_layers
    assert sum(linear.weight.numel() for linear in linears.values()) == model.config.linear_parameters
    assert sum(p.numel() for p in model.parameters()) == model.config.parameters


def test_a_model_goes_to_a_checkpoint_and_back() -> None:
    model = tiny_model(tiny_config(tied_embedding=False))
    checkpoint: Checkpoint = to_checkpoint(model, None)
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        assert torch.equal(build_model(checkpoint)(tokens), model(tokens))


@pytest.mark.parametrize("scaling", ROPES.values(), ids=ROPES)
def test_a_position_has_the_same_bits_in_tables_of_any_length(scaling: dict | None) -> None:
    config = tiny_config(rope_scaling=scaling, head_dim=18, max_seq_len=5000)
    full = rope_tables(config, 5000)
    for length in (0, 1, 2, 3, 7, 8, 17, 64, 100, 1001, 4096):
        for table, whole in zip(rope_tables(config, length), full, strict=True):
            assert torch.equal(table, whole[:length])


def test_tables_grow_to_what_is_asked_and_no_longer_than_the_config() -> None:
    tokens, long = torch.zeros(1, 40, dtype=torch.int64), tiny_model()
    model = tiny_model(positions=0)
    assert model.ropes["full"].cos.shape == (0, 5)
    model.reach(40)
    assert model.ropes["full"].cos.shape == (40, 5)
    with torch.no_grad():
        assert torch.equal(model(tokens), long(tokens))
    model.reach(10)
    assert model.ropes["full"].cos.shape == (40, 5)
    model.reach(65)
    assert torch.equal(model.ropes["full"].cos, long.ropes["full"].cos)
    assert torch.equal(model.ropes["full"].sin, long.ropes["full"].sin)


def test_numbers_that_make_no_rope() -> None:
    """Tests that numbers, each of them possible, are refused together."""
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
    with pytest.raises(ValueError, match="numbers of rope type yarn give no frequencies"):
        rope_tables(tiny_config(rope_theta=1.0, rope_scaling=yarn), 8)
