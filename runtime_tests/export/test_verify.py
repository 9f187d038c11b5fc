"""The verification at export: each check must catch the damage that it is for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from edge.checkpoints.convert import build_model
from edge.formats import BITS_CHOICES, FULL_PRECISION, grid_for_bits
from edge.ops import reference
from edge.ops.packed_header import HEADER_BYTES
from edge.ops.packing import read_header
from edge.quantizers.paretoq import QATLinear
from edge.quantizers.plan import Plan
from export.lower import Options
from export.program_file import ProgramFile, VerificationError
from export.references import References, perplexity
from export.rounding import hadamard_matrix
from export.tables import packed_tables
from export.verify import CacheTooCoarse, verify
from runtime_tests.export.lowered import copied, lower, program_of, references_of, verified, weights_of, write
from runtime_tests.tiny import tiny_checkpoint

TOKENS = [1, 40, 77, 200, 303, 5, 5, 64, 90, 91, 92, 17]
OPTIONS = Options(grid_for_bits(1.58), max_seq_len=64)
#: Rows of gate that are a whole number of blocks, so that every stage of a layer is one op.
FUSING = {"ffn_dim": 48}


@pytest.fixture(params=[grid_for_bits(b) for b in BITS_CHOICES], ids=lambda f: f.name)
def exported(request, tmp_path):
    """Model, lowered model and the written program of one format."""
    return _written(tmp_path, request.param, **FUSING)


@pytest.fixture
def ternary(tmp_path):
    return _written(tmp_path, **FUSING)


def _written(tmp_path, fmt=OPTIONS.grid, kv_cache="fp32", **changes):
    """A model for one test to damage, and the shared program of an equal model."""
    lowered, program = program_of(replace(OPTIONS, grid=fmt, kv_cache=kv_cache), **changes)
    return build_model(tiny_checkpoint(fmt, **changes)), lowered, copied(program, tmp_path / "model.pte")


def _verify(model, lowered, program, options=OPTIONS):
    return verified(model, lowered, program, TOKENS, options)


def _check(model, program, options=OPTIONS):
    return program.check(weights_of(model, options))


def test_a_right_program_passes(exported):
    result = _verify(*exported)
    assert 0 < result.activations.rms == result.rounding_rms  # the cache is float32
    ratio = result.activations.perplexity / result.perplexity_eager
    assert result.activations.perplexity_ratio == ratio != 1
    assert result.exact_tables == 2 * 4 + 1  # four tables in each of two layers, and one embedding
    assert result.prefill_rms == 0.0  # every op works token by token, whatever comes with it
    assert result.program_rms <= result.program_rms_bound < 0.25 * result.logit_rms


def test_an_int8_cache_is_judged_by_itself_too(tmp_path):
    options = replace(OPTIONS, kv_cache="int8")
    result = _verify(*_written(tmp_path, kv_cache="int8", head_dim=12), options)
    assert result.prefill_rms == 0.0
    assert 0 < result.cache.rms < result.cache.rms_bound
    assert result.activations.rms == result.cache.rms_bound  # every linear's inputs are rounded
    assert result.activations.rms != result.rounding_rms  # which has the cache's too
    assert result.program_rms <= result.program_rms_bound


def test_keys_that_int8_cannot_hold_are_refused(tmp_path):
    """One pair of elements of each key is 1000 times larger, and of each query 1000 times smaller. The scores
    are the same, but int8 keys lose all other elements."""
    options = replace(OPTIONS, grid=FULL_PRECISION, kv_cache="int8")
    model = build_model(tiny_checkpoint(head_dim=12))
    with torch.no_grad():
        for layer in model.layers:
            for projection, factor in ((layer.self_attn.q_proj, 1e-3), (layer.self_attn.k_proj, 1e3)):
                heads = projection.weight.view(
                    -1, 12, model.config.dim
                )  # RoPE turns element 0 with element 6
                heads[:, [0, 6]] *= factor
    lowered, program = write(model, options, tmp_path / "model.pte")
    with pytest.raises(VerificationError, match="export it with --kv-cache fp32"):
        _verify(model, lowered, program, options)


@pytest.mark.parametrize("kv_cache", ["int8", "int4"])
def test_the_cure_for_a_cache_that_costs_too_much_is_the_next_finer_one(tmp_path, kv_cache):
    """Logits of rms 3 and a cache that moves each by 0.2; int8 activations move them by 0.1."""
    logits = 3 * torch.randn(len(TOKENS), 304, generator=torch.Generator().manual_seed(0))
    signs = 2.0 * (torch.arange(304) % 2) - 1
    inputs = logits + 0.1 * signs if kv_cache == "int8" else None
    cache = logits + 0.2 * signs
    references = References(logits, logits, logits, kv_cache, cache, inputs, exact_prefill=True)
    finer, bound = ("fp32", "0.1 of int8 act") if kv_cache == "int8" else ("int8", "0.1414 that costs 1 %")
    with pytest.raises(
        CacheTooCoarse, match=f"by rms 0.2, more than the {bound}.*--kv-cache {finer}"
    ) as error:
        verify(tmp_path / "never opened", references, 1, TOKENS, "a text")
    assert error.value.cost.rms == pytest.approx(0.2)


@pytest.mark.parametrize("head_dim", [16, 24])
def test_the_hadamard_matrix_is_orthogonal_and_the_ops(head_dim):
    matrix = hadamard_matrix(head_dim)
    assert torch.allclose(matrix @ matrix.T, torch.eye(head_dim), atol=1e-6)
    size = reference.hadamard_size(head_dim)
    assert torch.allclose(reference.hadamard(torch.eye(head_dim)), matrix * size**0.5, atol=1e-6)


def test_every_byte_of_a_table_counts(ternary):
    model, lowered, program = ternary
    whole = program.path.read_bytes()
    packed = lowered.layers[1].gate_up.packed
    header = read_header(packed)
    start = whole.index(packed.numpy().tobytes())
    in_header = range(HEADER_BYTES)
    in_scales = range(HEADER_BYTES, HEADER_BYTES + 4 * header.n)
    in_codes = range(header.codes_offset, header.total_bytes, 97)
    for offset in (*in_header, *in_scales, *in_codes):
        damaged = bytearray(whole)
        damaged[start + offset] ^= 1
        program.path.write_bytes(damaged)
        with pytest.raises(
            VerificationError, match=r"layers\.1\.(gate_up is damaged|mlp\.(gate|up)_proj: unp)"
        ):
            _check(model, program)


@pytest.mark.parametrize("part", ["q_proj", "k_proj", "v_proj"])
def test_a_scale_one_ulp_off_is_refused(exported, part):
    model, _, program = exported
    linear = model.layers[0].self_attn.get_submodule(part)
    with torch.no_grad():
        if isinstance(linear, QATLinear):
            alpha, before = linear.weight_clip_val, linear.quantized().scale[3, 0]
            while linear.quantized().scale[3, 0] == before:  # two ulps of alpha may be one of 2/3 alpha
                alpha[3, 0] = torch.nextafter(alpha[3, 0], alpha[3, 0] + 1)
        else:
            linear.weight[3, 0] *= 1.01
    with pytest.raises(VerificationError, match=rf"layers\.0\.self_attn\.{part}: unpacking does not give"):
        _check(model, program)


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_another_embedding_is_refused(tmp_path, bits):
    options = replace(OPTIONS, embedding_bits=bits)
    model = build_model(tiny_checkpoint(OPTIONS.grid, **FUSING))
    _, program = write(model, options, tmp_path / "model.pte")
    assert _check(model, program, options) == 9
    with torch.no_grad():
        model.embed_tokens.weight[7:9] = model.embed_tokens.weight[7:9].flip(0)
    with pytest.raises(VerificationError, match="embed_tokens: the table is not the model's"):
        _check(model, program, options)


@pytest.mark.parametrize("name", ["embed_tokens", "lm_head"])
@pytest.mark.parametrize("part", ["weight", "grid_end"])
def test_a_learned_table_must_be_the_trained_grid_exactly(tmp_path, name, part):
    """A table with a learned grid may not differ by one code or one ulp; others may by half a step."""
    plan = Plan(OPTIONS.grid, embedding_format=grid_for_bits(8))
    model = build_model(tiny_checkpoint(plan=plan, tied_embedding=False))
    lowered, path = (
        lower(model, OPTIONS),
        tmp_path / "model.pte",
    )  # tables are enough, without a program around
    path.write_bytes(b"".join(t.packed.numpy().tobytes() for t in packed_tables(lowered).values()))
    program = ProgramFile(path, lowered)
    program.fill(weights_of(model, OPTIONS))
    _check(model, program)
    table = model.get_submodule(name)
    with torch.no_grad():
        value = table.weight[5, 7] if part == "weight" else table.grid_end[5, 0]
        moved = (
            table.quantized().scale[5, 0] if part == "weight" else torch.nextafter(value, value + 1) - value
        )
        value += moved
    with pytest.raises(VerificationError, match=f"{name}: unpacking does not give the trained grid back"):
        _check(model, program)


def test_a_program_without_one_of_its_tables_is_refused(tmp_path):
    lowered, path = lower(build_model(tiny_checkpoint()), OPTIONS), tmp_path / "model.pte"
    tables = [table.packed.numpy().tobytes() for table in packed_tables(lowered).values()]
    for wrong in (tables[1:], [*tables, tables[0]]):
        path.write_bytes(b"".join(wrong))
        with pytest.raises(VerificationError, match=r"must hold the table \S+ once"):
            ProgramFile(path, lowered)


def test_rows_of_another_linear_are_refused(ternary):
    """k and v have the same shape, so only their values show that a joined table has them swapped."""
    model, _, program = ternary
    attention = model.layers[1].self_attn
    attention.k_proj, attention.v_proj = attention.v_proj, attention.k_proj
    with pytest.raises(VerificationError, match=r"layers\.1\.self_attn\.k_proj: unpacking does not give"):
        _check(model, program)


def test_a_wrong_norm_is_beyond_the_bound(ternary):
    model, lowered, program = ternary
    with torch.no_grad():
        model.layers[0].input_layernorm.weight[:18] *= 1.5  # not packed: only the logits can tell
    with pytest.raises(VerificationError, match="logits are off"):
        _verify(model, lowered, program)


def test_a_weight_beyond_half_precision_is_named(tmp_path):
    model = build_model(tiny_checkpoint())
    with torch.no_grad():
        model.layers[1].mlp.up_proj.weight[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"layers\.1\.mlp\.up_proj: .*half precision cannot hold"):
        write(model, OPTIONS, tmp_path / "model.pte")


def test_nan_in_the_program_is_refused(tmp_path):
    model = build_model(tiny_checkpoint())
    with torch.no_grad():
        model.norm.weight[0] = float("nan")
    options = replace(OPTIONS, grid=FULL_PRECISION)
    lowered, program = write(model, options, tmp_path / "model.pte")
    with pytest.raises(ValueError, match="logits are not numbers"):
        _verify(build_model(tiny_checkpoint()), lowered, program, options)


def test_rounding_activations_in_the_reference_matters(ternary):
    """The rounded reference differs from the float one, and our ops are nearer to it."""
    model, lowered, program = ternary
    references = references_of(model, lowered, program, TOKENS[:1], OPTIONS)
    eager_ops = lowered(torch.tensor([TOKENS[:1]]))[0]
    float_logits, rounded_logits = references.float_logits, references.rounded_logits
    assert (eager_ops - rounded_logits).abs().max() < (float_logits - rounded_logits).abs().max()


def test_perplexity_is_the_exponential_of_the_mean_loss():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]))
    # token 1 after token 0 has probability 0.25, token 2 after that 0.1: exp(-(ln 0.25 + ln 0.1) / 2)
    assert perplexity(logits, [0, 1, 2]) == pytest.approx((0.25 * 0.1) ** -0.5)
    assert perplexity(logits[:1], [0]) == 1.0
    assert perplexity(torch.tensor([[0.0, 1e30], [0.0, 0.0]]), [0, 0]) == float("inf")  # and no OverflowError
