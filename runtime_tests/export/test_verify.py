"""The exporter's own checks: each must catch the damage it is there for."""

from __future__ import annotations

import functools

import pytest
import torch

from edge.formats import BITS_CHOICES, format_for_bits
from edge.model.mobilellm import named_linears
from edge.ops.packing import read_header
from edge.quantizers.convert import build_model
from export.metadata import constant_methods
from export.program import to_program
from export.recipes import RECIPES, lower
from export.verify import VerificationError, check_tables, eager_logits, perplexity, reference_models, verify
from runtime_tests.tiny import tiny_checkpoint

TOKENS = [1, 40, 77, 200, 303, 5, 5, 64, 90, 91, 92, 17]
RECIPE = RECIPES["lowbit"]


@pytest.fixture(params=[format_for_bits(b) for b in BITS_CHOICES], ids=lambda f: f.name)
def exported(request, tmp_path):
    """Model, lowered model and the written program of one format."""
    return _written(request.param, tmp_path)


@pytest.fixture
def ternary(tmp_path):
    return _written(format_for_bits(1.58), tmp_path)


def _written(fmt, tmp_path):
    """A model of its own for each test to damage, with the program that was exported from its like."""
    lowered, program = _export(fmt)
    path = tmp_path / "model.pte"
    path.write_bytes(program)
    return build_model(tiny_checkpoint(fmt)), lowered, path


@functools.cache
def _export(fmt):
    model = build_model(tiny_checkpoint(fmt))
    lowered = lower(model, RECIPE, 8, 64)
    return lowered, to_program(lowered, RECIPE, 64, constant_methods(model.config, 64))


def _verify(model, lowered, path):
    tables = check_tables(model, lowered, path)
    return verify(path, reference_models(model, lowered, RECIPE), tables, TOKENS, "test tokens")


def test_a_right_program_passes(exported):
    result = _verify(*exported)
    assert result.exact_tables == 2 * 7 + 1  # seven linears in each of two layers, and one embedding
    assert result.prefill_rms == 0.0  # every op works token by token, whatever comes with it
    assert result.program_rms <= result.program_rms_bound < 0.25 * result.logit_rms


def test_every_byte_of_a_table_counts(ternary):
    model, lowered, path = ternary
    whole = path.read_bytes()
    packed = lowered.layers[1].mlp.up_proj.packed
    header = read_header(packed)
    start = whole.index(packed.numpy().tobytes())
    in_header = range(header.alpha_offset)
    in_alpha = range(header.alpha_offset, header.alpha_offset + 4 * header.n)
    in_codes = range(header.codes_offset, header.total_bytes, 97)
    for offset in (*in_header, *in_alpha, *in_codes):
        damaged = bytearray(whole)
        damaged[start + offset] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(VerificationError, match=r"up_proj is not in model\.pte as it was packed"):
            check_tables(model, lowered, path)


def test_alpha_one_ulp_off_is_refused(exported):
    model, lowered, path = exported
    linear = next(iter(named_linears(model).values()))
    scale = linear.weight_clip_val if hasattr(linear, "weight_clip_val") else linear.weight
    with torch.no_grad():
        value = scale[3, 0]
        scale[3, 0] = (
            torch.nextafter(value, value + 1) if hasattr(linear, "weight_clip_val") else value * 1.01
        )
    with pytest.raises(VerificationError, match="does not give the trained grid back"):
        check_tables(model, lowered, path)


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_another_embedding_is_refused(ternary, bits):
    model, _, path = ternary
    lowered = lower(model, RECIPE, bits, 64)
    path.write_bytes(path.read_bytes() + lowered.embed_tokens.packed.numpy().tobytes())  # it is in the file
    assert check_tables(model, lowered, path) == 15
    with torch.no_grad():
        model.embed_tokens.weight[7:9] = model.embed_tokens.weight[7:9].flip(0)
    with pytest.raises(VerificationError, match="embed_tokens: the table is not the model's"):
        check_tables(model, lowered, path)


def test_a_wrong_norm_is_beyond_the_bound(ternary):
    model, lowered, path = ternary
    with torch.no_grad():
        model.layers[0].input_layernorm.weight[:18] *= 1.5  # not packed: only the logits can tell
    with pytest.raises(VerificationError, match="logits are off"):
        _verify(model, lowered, path)


def test_a_weight_beyond_half_precision_is_named():
    model = build_model(tiny_checkpoint())
    with torch.no_grad():
        model.layers[1].mlp.up_proj.weight[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"layers\.1\.mlp\.up_proj: .*half precision cannot hold"):
        lower(model, RECIPE, 8, 64)


def test_nan_in_the_program_is_refused(tmp_path):
    model = build_model(tiny_checkpoint())
    lowered = lower(model, RECIPE, 8, 64)
    with torch.no_grad():
        lowered.norm.weight[0] = float("nan")
    path = tmp_path / "model.pte"
    path.write_bytes(to_program(lowered, RECIPE, 64, constant_methods(model.config, 64)))
    with pytest.raises(ValueError, match="logits are not numbers"):
        _verify(build_model(tiny_checkpoint()), lowered, path)


def test_rounding_activations_in_the_reference_matters(ternary):
    """The int8 reference really rounds: it differs from the float one, and the program is nearer to it."""
    model, lowered, _ = ternary
    references = reference_models(model, lowered, RECIPE)
    float_logits = eager_logits(references.float_model, TOKENS[:1])
    int8_logits = eager_logits(references.int8_model, TOKENS[:1])
    eager_ops = lowered(torch.tensor([TOKENS[:1]]))[0]
    assert (eager_ops - int8_logits).abs().max() < (float_logits - int8_logits).abs().max()


def test_perplexity_is_the_exponential_of_the_mean_loss():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]))
    # token 1 after token 0 has probability 0.25, token 2 after that 0.1: exp(-(ln 0.25 + ln 0.1) / 2)
    assert perplexity(logits, [0, 1, 2]) == pytest.approx((0.25 * 0.1) ** -0.5)
    assert perplexity(logits[:1], [0]) == 1.0
    assert perplexity(torch.tensor([[0.0, 1e30], [0.0, 0.0]]), [0, 0]) == float("inf")  # and no OverflowError
