"""Train a model, resume it, and write its checkpoint.

The loop is transformers' ``Trainer``. Every flag of its TrainingArguments (gradient accumulation, bf16,
torch_compile, fsdp, ...) is accepted beside the flags of train_config.py, and torchrun works as usual.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from edge.checkpoints.convert import to_checkpoint
from edge.checkpoints.write import save_checkpoint
from edge.data import PackedBlocks, Source, TokenStream, token_stream
from edge.files import only_writer
from edge.model.decoder import Decoder
from edge.model.tokenizer import Tokenizer
from edge.quantizers.activations import round_activations
from edge.training.arguments import accumulation, as_flags, parse
from edge.training.checkpoints import checkpoints_dir, last_checkpoint, step_of
from edge.training.divergence import Diverged, StopWhenDiverged, how_to_go_on
from edge.training.failures import failures_explained
from edge.training.loss import NextTokenLoss
from edge.training.preflight import refuse_bad_output, refuse_full_disk, refuse_several_gpus
from edge.training.progress import examples_per_step, held_out_words, perplexity_of
from edge.training.ranks import require_same_on_all_ranks
from edge.training.run_record import (
    mark_diverged,
    read_record,
    refuse_other_flags,
    refuse_other_hashes,
    write_record,
)
from edge.training.stages import stages
from edge.training.start import check_before_stages, starting_model, weights_hash
from edge.training.stop import StopOnSignal
from edge.training.teacher import teacher_of
from edge.training.train_config import TrainConfig
from edge.training.trainer import BlockTrainer, build_trainer, final_losses, whole_model
from edge.training.trainer_arguments import training_arguments


def train(config: TrainConfig, rest: list[str]) -> float | None:
    """Train, write the checkpoint to ``config.output``, and return held-out perplexity.

    Args:
        rest: flags of TrainingArguments.

    Returns:
        None when the run had finished before.

    Raises:
        ValueError: bad input, in a sentence.
        KeyboardInterrupt: asked to stop; a checkpoint was written.
    """
    directory, output = checkpoints_dir(config.output), Path(config.output)
    arguments = training_arguments(config, rest, str(directory))
    refuse_several_gpus(arguments)
    refuse_bad_output(output, [*config.data, *config.eval_data])
    last, record = last_checkpoint(directory), read_record(directory)
    require_same_on_all_ranks("last checkpoint", last and last.name)
    flags = {**as_flags(config, rest), "examples_per_step": examples_per_step(arguments)}
    if last is not None and record is not None:
        refuse_other_flags(directory, record, flags)
    is_finished = _has_files(output)
    if is_finished and (last is None or step_of(last) < config.steps):
        raise ValueError(
            f"--output {output} already exists and is not this run's; remove it or choose another"
        )

    model, tokenizer = starting_model(config)
    stream = _stream(config, config.data, tokenizer, model)
    held_out_stream = _stream(config, config.eval_data, tokenizer, model, held_out=True)
    require_same_on_all_ranks("text", f"{stream.fingerprint[:8]} and {held_out_stream.fingerprint[:8]}")
    blocks, held_out = (PackedBlocks(s, config.context) for s in (stream, held_out_stream))
    hashes = {"data_sha256": stream.fingerprint, "weights_sha256": weights_hash(config)}
    if last is not None and record is not None:
        refuse_other_hashes(directory, record, hashes)
    if is_finished:
        again = f"To train again, remove it and {directory}"
        print(f"{output} is finished: {config.steps} steps. {again}", flush=True)
        return None
    refuse_full_disk(model, directory)
    method = config.how
    if last is None:
        method.calibrate(model, (blocks[i]["tokens"][None, :-1] for i in range(len(blocks))))
    teacher = teacher_of(config, model, tokenizer)
    round_activations(model, config.activation_bits, config.kv_bits)
    module = NextTokenLoss(model, teacher, config.distill, arguments.bf16, method)
    with only_writer(directory) if arguments.process_index == 0 else nullcontext():
        if last_checkpoint(directory) != last or _has_files(output):
            raise ValueError(f"another process has trained {output} meanwhile; give the same command again")
        new_rate = record is None or record["flags"]["learning_rate"] != config.learning_rate
        if arguments.process_index == 0 and (last is None or new_rate):
            write_record(directory, flags, hashes)
        trainer = build_trainer(config, arguments, module, blocks, held_out)
        if trainer.is_world_process_zero():
            _announce(config, model, blocks, held_out, last)
        _train(config, trainer, last)  # takes no step if only the output is missing
        return _finish(config, trainer, module, tokenizer)


def _has_files(output: Path) -> bool:
    return output.is_dir() and any(output.iterdir())


def _stream(
    config: TrainConfig, names: list[str], tokenizer: Tokenizer, model: Decoder, held_out: bool = False
) -> TokenStream:
    cache = None if config.data_cache is None else Path(config.data_cache)
    sources = [Source.held_out(name) if held_out else Source.parse(name) for name in names]
    return token_stream(sources, tokenizer, model.config, cache, repeats=not held_out)


def _announce(
    config: TrainConfig, model: Decoder, blocks: PackedBlocks, held_out: PackedBlocks, last: Path | None
) -> None:
    width = f"{config.bits:g} bits" + (f" ({' '.join(config.mixed)})" if config.mixed else "")
    print(
        f"{model.config.parameters / 1e6:.2f} M parameters at {width}; in blocks of {config.context}, "
        f"{blocks.predicted:,} tokens to train on and {held_out.predicted:,} held out",
        flush=True,
    )
    trained, measured = ({Source.parse(n).name for n in names} for names in (config.data, config.eval_data))
    for name in trained & measured:
        print(f"warning: {name} is --data and --eval-data: held-out figures are of text that was trained on")
    if last is not None:
        print(f"resuming at step {step_of(last)} from {last}", flush=True)


def _train(config: TrainConfig, trainer: BlockTrainer, last: Path | None) -> None:
    """Train to the last step.

    Raises:
        Diverged: the loss or a weight diverged.
        ValueError: out of memory or disk, a damaged checkpoint, or a lost rank.
        KeyboardInterrupt: asked to stop; a checkpoint was written.
    """
    stop, guard = StopOnSignal(), StopWhenDiverged()
    trainer.add_callback(stop)
    trainer.add_callback(guard)  # after all callbacks that ask for checkpoints
    directory, arguments = checkpoints_dir(config.output), trainer.args
    with failures_explained(
        directory, config.batch_size, arguments.gradient_accumulation_steps, config.context
    ):
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    step = trainer.state.global_step
    if guard.reason is not None:
        if trainer.is_world_process_zero():
            mark_diverged(directory)
        flag = "--learning-rate" if config.full_learning_rate is None else "--full-learning-rate"
        kept = how_to_go_on(directory, f"{flag} than {config.learning_rate:g}")
        raise Diverged(f"training stopped at step {step}: {guard.reason}; {kept}")
    if stop.asked and step < config.steps:
        if trainer.is_world_process_zero():
            print(f"stopped at step {step}; the same command continues", flush=True)
        raise KeyboardInterrupt


def _finish(config: TrainConfig, trainer: BlockTrainer, module: NextTokenLoss, tokenizer: Tokenizer) -> float:
    """Write the trained checkpoint and return held-out perplexity."""
    losses = final_losses(trainer)
    model = whole_model(trainer, module, lambda: starting_model(config)[0])
    if trainer.is_world_process_zero():
        method = config.how
        checkpoint = to_checkpoint(method.finish(model), tokenizer.path, method.grid(config.bits))
        save_checkpoint(replace(checkpoint, nesting=method.nesting), config.output)
        print(f"wrote {config.output}\nheld-out perplexity {held_out_words(losses)}", flush=True)
    trainer.accelerator.wait_for_everyone()  # the next stage reads what was written
    return perplexity_of(losses["eval_loss"])


def main(argv: list[str] | None = None) -> int:
    config, rest = parse(sys.argv[1:] if argv is None else argv)
    check_before_stages(config)
    ranks = int(os.environ.get("WORLD_SIZE", 1))  # set by torchrun before any process group exists
    for stage in stages(config, ranks * accumulation(rest)):
        torch.manual_seed(stage.seed)
        torch.compiler.reset()  # code compiled for the first stage would only be in the way
        train(stage, rest)
    return 0
