"""``python -m edge.training``: full-precision training, then quantisation-aware training from it.

The loop is transformers' ``Trainer``: every flag of its TrainingArguments (gradient accumulation,
bf16, torch_compile, fsdp, ...) is accepted after the flags of arguments.py, and torchrun works as usual.
A run that was interrupted continues from its last checkpoint when the same command is given again.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers import PrinterCallback, Trainer, TrainingArguments
from transformers.integrations import TensorBoardCallback

from edge.checkpoints.convert import to_checkpoint
from edge.checkpoints.write import save_checkpoint
from edge.cli import refuse_unwritable
from edge.data import PackedBlocks, Source, TokenStream, token_stream
from edge.formats import format_for_bits
from edge.model.decoder import Decoder
from edge.model.tokenizer import Tokenizer
from edge.training.arguments import accumulation, as_flags, parse, training_arguments
from edge.training.guard import Diverged, StopWhenDiverged, failures_explained, what_is_kept
from edge.training.loss import NextTokenLoss
from edge.training.method import PARETOQ, Method
from edge.training.monitor import Monitor
from edge.training.processes import refuse_other_sights
from edge.training.progress import Progress, ReportingTrainer, Speed, StopOnSignal, examples_per_step
from edge.training.resume import (
    checkpoints_dir,
    last_checkpoint,
    mark_diverged,
    only_run,
    read_record,
    refuse_other_contents,
    refuse_other_flags,
    step_of,
    write_record,
)
from edge.training.stages import stages
from edge.training.start import refuse_before_training, starting_model, teacher_of, weights_hash
from edge.training.train_config import TrainConfig


def train(config: TrainConfig, rest: list[str], method: Method = PARETOQ) -> float | None:
    """Trains, writes the checkpoint to ``config.output``, and returns held-out perplexity.

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
    if arguments.n_gpu > 1:
        raise ValueError(
            f"{arguments.n_gpu} GPUs want a process each: torchrun --nproc-per-node {arguments.n_gpu} -m "
            "edge.training ...; for one of them set CUDA_VISIBLE_DEVICES=0"
        )
    refuse_unwritable(output)
    _refuse_output_among([*config.data, *config.eval_data], output)
    last, record = last_checkpoint(directory), read_record(directory)
    refuse_other_sights("last checkpoint", None if last is None else last.name)
    flags = {**as_flags(config, rest), "examples_per_step": examples_per_step(arguments)}
    if last is not None and record is not None:
        refuse_other_flags(directory, record, flags)
    is_finished = _is_there(output)
    if is_finished and (last is None or step_of(last) < config.steps):
        raise ValueError(
            f"--output {output} already exists and is not this run's; remove it or choose another"
        )

    model, tokenizer = starting_model(config, method)
    stream = _stream(config.data, tokenizer, model, config)
    held_out_stream = _stream(config.eval_data, tokenizer, model, config, repeats=False)
    refuse_other_sights("text", f"{stream.fingerprint[:8]} and {held_out_stream.fingerprint[:8]}")
    blocks, held_out = (PackedBlocks(s, config.context) for s in (stream, held_out_stream))
    hashes = {"data_sha256": stream.fingerprint, "weights_sha256": weights_hash(config)}
    if last is not None and record is not None:
        refuse_other_contents(directory, record, hashes)
    if is_finished:
        print(
            f"{output} is finished: {config.steps} steps. To train again, remove it and {directory}",
            flush=True,
        )
        return None
    _refuse_full_disk(model, directory)
    module = NextTokenLoss(model, teacher_of(config, model, tokenizer), config.distill, arguments.bf16)
    with only_run(directory) if arguments.process_index == 0 else nullcontext():
        if last_checkpoint(directory) != last or _is_there(output):
            raise ValueError(f"another process has trained {output} meanwhile; give the same command again")
        new_rate = record is None or record["flags"]["learning_rate"] != config.learning_rate
        if arguments.process_index == 0 and (last is None or new_rate):
            write_record(directory, flags, hashes)
        return _run(config, arguments, method, module, tokenizer, (blocks, held_out), last)


def _is_there(output: Path) -> bool:
    return output.is_dir() and any(output.iterdir())


def _run(
    config: TrainConfig,
    arguments: TrainingArguments,
    method: Method,
    module: NextTokenLoss,
    tokenizer: Tokenizer,
    data: tuple[PackedBlocks, PackedBlocks],
    last: Path | None,
) -> float:
    trainer = _trainer(config, arguments, module, data)
    if trainer.is_world_process_zero():
        _announce(config, module.model, data, last)
    _train(config, trainer, last)  # no step is left where all that is missing is the output
    perplexity = math.exp(_final_loss(trainer))
    model = _whole_model(trainer, module, lambda: starting_model(config, method)[0])
    if trainer.is_world_process_zero():
        checkpoint = to_checkpoint(method.finish(model), tokenizer.path, format_for_bits(config.bits))
        save_checkpoint(checkpoint, config.output)
        print(f"wrote {config.output}\nheld-out perplexity {perplexity:.3f}", flush=True)
    trainer.accelerator.wait_for_everyone()  # the next stage reads what was written
    return perplexity


def _trainer(
    config: TrainConfig,
    arguments: TrainingArguments,
    module: NextTokenLoss,
    data: tuple[PackedBlocks, PackedBlocks],
) -> ReportingTrainer:
    speed = Speed(config.context)
    monitor = Monitor(
        module.model,
        checkpoints_dir(config.output),
        config.monitor_steps or config.save_steps,
        arguments.process_index == 0,
    )
    trainer = ReportingTrainer(
        model=module,
        args=arguments,
        train_dataset=data[0],
        eval_dataset=data[1],
        callbacks=[speed, Progress(), monitor],
    )
    if arguments.fsdp and not trainer.is_fsdp_enabled:
        raise ValueError(
            "--fsdp shards over accelerators, one for each process of torchrun; without these nothing is "
            "sharded: leave it out"
        )
    trainer.speed, trainer.is_distilled, trainer.skipped = speed, config.distill > 0, config.skip_examples
    trainer.remove_callback(PrinterCallback)  # Progress prints instead
    if trainer.is_fsdp_enabled:  # --bf16 would have it cast weights and scales before they are rounded
        trainer.accelerator.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy()
    monitor.tensorboard = next(
        (c for c in trainer.callback_handler.callbacks if isinstance(c, TensorBoardCallback)), None
    )
    return trainer


def _refuse_output_among(data: list[str], output: Path) -> None:
    """ValueError where the run's own files would be read as its text when it is resumed."""
    for name in data:
        folder = Path(Source.parse(name).name).absolute()
        if folder.is_dir() and folder.resolve() in output.absolute().resolve().parents:
            raise ValueError(f"--output {output} lies in {folder}, which is read as text; choose another")


def _train(config: TrainConfig, trainer: ReportingTrainer, last: Path | None) -> None:
    """Trains to the last step.

    Raises:
        Diverged: the loss, or a weight.
        ValueError: the run did not fit into memory or found no room on the disk.
        KeyboardInterrupt: asked to stop; a checkpoint was written.
    """
    stop, guard = StopOnSignal(), StopWhenDiverged()
    trainer.add_callback(stop)
    trainer.add_callback(guard)  # after everything that asks for checkpoints
    directory, accumulation = checkpoints_dir(config.output), trainer.args.gradient_accumulation_steps
    with failures_explained(directory, config.batch_size, accumulation, config.context):
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    step = trainer.state.global_step
    if guard.reason is not None:
        if trainer.is_world_process_zero():
            mark_diverged(directory)
        flag = "--learning-rate" if config.full_learning_rate is None else "--full-learning-rate"
        kept = what_is_kept(directory, f"{flag} than {config.learning_rate:g}")
        raise Diverged(f"training stopped at step {step}: {guard.reason}; {kept}")
    if stop.asked and step < config.steps:
        if trainer.is_world_process_zero():
            print(f"stopped at step {step}; the same command continues", flush=True)
        raise KeyboardInterrupt


def _whole_model(trainer: Trainer, module: NextTokenLoss, build: Callable[[], Decoder]) -> Decoder:
    """The trained model; FSDP's shards are gathered into a fresh one, in which every process takes part."""
    if not trainer.is_fsdp_enabled:
        return module.model
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    whole = NextTokenLoss(build())
    if trainer.is_world_process_zero():
        whole.load_state_dict(state)
    return whole.model


def _announce(
    config: TrainConfig, model: Decoder, data: tuple[PackedBlocks, PackedBlocks], last: Path | None
) -> None:
    width = f"{config.bits:g} bits" + (f" ({' '.join(config.mixed)})" if config.mixed else "")
    size = f"{model.config.parameters / 1e6:.2f} M parameters at {width}"
    print(
        f"{size}; in blocks of {config.context}, {data[0].predicted:,} tokens to train on "
        f"and {data[1].predicted:,} held out",
        flush=True,
    )
    for name in {Source.parse(n).name for n in config.data} & {
        Source.parse(n).name for n in config.eval_data
    }:
        print(f"warning: {name} is --data and --eval-data: held-out figures are of text that was trained on")
    if last is not None:
        print(f"resuming at step {step_of(last)} from {last}", flush=True)


def _final_loss(trainer: Trainer) -> float:
    """Held-out loss of the weights as they are; mostly known, since Trainer evaluates after its last step."""
    for entry in reversed(trainer.state.log_history):
        if "eval_loss" in entry and entry["step"] == trainer.state.global_step:
            return entry["eval_loss"]
    return trainer.evaluate()["eval_loss"]


def _refuse_full_disk(model: Decoder, directory: Path) -> None:
    """ValueError without room for three checkpoints (weights and AdamW's two moments each) and the output.

    What a run that is resumed holds already counts as room.
    """
    needed = sum(p.numel() * 4 for p in model.parameters()) * (3 * 3 + 1)
    needed -= sum(path.stat().st_size for path in directory.glob("checkpoint-*/*"))
    free = shutil.disk_usage(next(p for p in directory.absolute().parents if p.is_dir())).free
    if free < needed:
        raise ValueError(
            f"{directory} needs about {needed / 1e6:.0f} MB of disk, and {free / 1e6:.0f} MB are free"
        )


def _stream(
    names: list[str], tokenizer: Tokenizer, model: Decoder, config: TrainConfig, repeats: bool = True
) -> TokenStream:
    cache = None if config.data_cache is None else Path(config.data_cache)
    sources = [Source.parse(name) if repeats else Source.held_out(name) for name in names]
    return token_stream(sources, tokenizer, model.config, cache, repeats)


def main(argv: list[str] | None = None) -> int:
    config, rest = parse(sys.argv[1:] if argv is None else argv)
    refuse_before_training(config)
    processes = int(os.environ.get("WORLD_SIZE", 1))  # torchrun says so before any process group exists
    for stage in stages(config, processes * accumulation(rest)):
        torch.manual_seed(stage.seed)
        torch.compiler.reset()  # what was compiled for another stage's modules is of no use, and can mislead
        train(stage, rest)
    return 0
