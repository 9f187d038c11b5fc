"""A damaged program whose tensors lack memory: each is refused, in every op, and nothing crashes."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch
from executorch.exir._serialize._program import PTEFile, deserialize_pte_binary, serialize_pte_binary
from executorch.exir.schema import KernelCall, Tensor

from runtime_tests.native_builds import run as run_command
from runtime_tests.ops.programs import DIM, FFN, TinyBlock, write_program
from runtime_tests.ops.runner_process import ids, refused, run
from runtime_tests.ops.tables import INT4, random_table


class EveryOp(TinyBlock):
    """TinyBlock with the fused ops too: all nine ops run."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gate_up", random_table(2 * 16, DIM, INT4, 7))
        self.register_buffer("back", random_table(DIM, 16, INT4, 8))

    def forward(self, tokens: torch.Tensor, input_pos: torch.Tensor) -> torch.Tensor:
        ops = torch.ops.lowbit
        logits = super().forward(tokens, input_pos)
        x = ops.embedding(tokens, self.table, DIM)
        h = ops.norm_linear(x, self.norm, 1e-5, self.gate, FFN)
        x = ops.linear_add(h, self.down, x)
        g = ops.norm_gate_up(x, self.norm, 1e-5, self.gate_up, 16)
        return logits + ops.linear(ops.linear(g, self.back, DIM)[:, -1, :], self.table, logits.shape[-1])


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_program(EveryOp(), tmp_path_factory.mktemp("every_op") / "model.pte")


def tensors_of_ops(pte: PTEFile) -> dict[tuple[str, int], int]:
    """Tensor arguments of the ops: (op, place of the argument) -> index of the value.

    Only values that no op of ExecuTorch uses: those ops write to tensors without memory. The prompt is left
    out, because the runner gives it memory.
    """
    plan = next(plan for plan in pte.program.execution_plan if plan.name == "forward")
    calls = [i.instr_args for i in plan.chains[0].instructions if isinstance(i.instr_args, KernelCall)]
    name = {id(call): plan.operators[call.op_index].name for call in calls}
    others = {index for call in calls if not name[id(call)].startswith("lowbit::") for index in call.args}
    found = {}
    for call in calls:
        for place, index in enumerate(call.args):
            usable = isinstance(plan.values[index].val, Tensor) and index not in {*others, *plan.inputs}
            if name[id(call)].startswith("lowbit::") and usable:
                found[name[id(call)], place] = index
    return found


#: Runs programs in the stock runtime, which calls our ops without our check of the program.
STOCK = """
import sys, torch, edge.ops
from executorch.runtime import Runtime
for path in sys.argv[1:]:
    print(path, flush=True)
    try:
        method = Runtime.get().load_program(path).load_method("forward")
        method.execute([torch.tensor([[1, 2]]), torch.tensor([0])])
    except RuntimeError as error:
        print("refused", flush=True)
"""


@pytest.fixture(scope="module")
def damaged(program, tmp_path_factory) -> dict[tuple[str, int], Path]:
    """A program for each tensor of each op, in which that tensor has no memory."""
    folder = tmp_path_factory.mktemp("damaged")
    pte = deserialize_pte_binary(program.read_bytes())
    written = {}
    for (op, place), index in tensors_of_ops(pte).items():
        changed = copy.deepcopy(pte)
        plan = next(plan for plan in changed.program.execution_plan if plan.name == "forward")
        plan.values[index].val.data_buffer_idx, plan.values[index].val.allocation_info = 0, None
        path = folder / f"{op.replace(':', '-')}-{place}.pte"
        path.write_bytes(bytes(serialize_pte_binary(changed, constant_tensor_alignment=64)))
        written[op, place] = path
    assert len({op for op, _ in written}) == 10
    return written


def test_the_check_refuses_every_tensor_without_memory(program, damaged):
    arguments = ("--tokens", "1,2", "--max-new-tokens", 2, "--eos", 1000)
    assert len(ids(run("--model", program, *arguments))) == 2
    for path in damaged.values():
        assert "which has no data yet" in refused("--model", path, *arguments)


def test_the_ops_refuse_it_too(program, damaged):
    """Tests that no op follows a null pointer where nobody checked the program."""
    command = [sys.executable, "-c", STOCK, program, *damaged.values()]
    printed = run_command(command).splitlines()
    assert printed == [str(program), *(line for path in damaged.values() for line in (str(path), "refused"))]
