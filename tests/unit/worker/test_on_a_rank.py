"""What a rank settles before it trains: its device, and the rows that packing is proven on."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from rehearsal.api.messages import DeviceUnusable, ExitCode, Refused
from rehearsal.worker.train import tell_dtype
from rehearsal.worker.training.attention import PROOF_ROWS, proof_of, prove_separation
from rehearsal.worker.training.buffers import restore
from rehearsal.worker.training.device import expect
from rehearsal.worker.training.rows import Rows, write_rows

CPU = torch.device("cpu")


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    monkeypatch.setenv("DS_ACCELERATOR", "whatever the image says")
    return monkeypatch


@pytest.mark.fault(76)
@pytest.mark.parametrize(("available", "found"), [(False, 8), (True, 0), (True, 7)])
def test_a_rank_without_a_gpu_of_its_own_never_takes_the_cpu(ranks: pytest.MonkeyPatch, available: bool, found: int) -> None:
    ranks.setattr(torch.cuda, "is_available", lambda: available)
    ranks.setattr(torch.cuda, "device_count", lambda: found)
    with pytest.raises(
        DeviceUnusable, match=f"8 ranks of this pod need a GPU each, and CUDA finds {found if available else 0}"
    ) as lost:
        expect("cuda")
    assert lost.value.code == ExitCode.DEVICE


@pytest.mark.parametrize("kind", ["cuda", "cpu"])
def test_deepspeed_is_told_which_device_to_take(ranks: pytest.MonkeyPatch, kind: str) -> None:
    ranks.setattr(torch.cuda, "is_available", lambda: True)
    ranks.setattr(torch.cuda, "device_count", lambda: 8)
    expect(kind)
    assert os.environ["DS_ACCELERATOR"] == kind


class Rotary(nn.Module):
    """Has frequencies, of a dtype and under a name, in a module of its own and in itself."""

    def __init__(self, dtype: torch.dtype, name: str = "inv_freq", size: int = 4, inner: bool = True) -> None:
        super().__init__()
        self.register_buffer(name, torch.linspace(0.1, 0.9, size).to(dtype), persistent=False)
        self.inner = Rotary(dtype, name, size, inner=False) if inner else None


@pytest.mark.fault(77)
def test_every_buffer_becomes_that_of_a_plain_build() -> None:
    model, plain = Rotary(torch.bfloat16), Rotary(torch.float32)
    restore(model, plain, CPU)
    pairs = zip(model.named_buffers(), plain.named_buffers(), strict=True)
    assert all(ours[0] == theirs[0] and ours[1].dtype == theirs[1].dtype and ours[1].equal(theirs[1]) for ours, theirs in pairs)


@pytest.mark.fault(77)
@pytest.mark.parametrize(
    "other", [Rotary(torch.float32, name="scale"), Rotary(torch.float32, size=5), Rotary(torch.float32, inner=False)]
)
def test_a_buffer_that_cannot_be_rebuilt_is_refused(other: nn.Module) -> None:
    with pytest.raises(Refused, match="is another one when it is loaded in parts") as refused:
        restore(Rotary(torch.bfloat16), other, CPU)
    assert refused.value.reason == "ArchitectureUnsupported"


class Model(nn.Module):
    """Predicts from all tokens before, of other samples too if it `mingles`; with dropout on what it says."""

    def __init__(self, mingles: bool) -> None:
        super().__init__()
        self.mingles, self.dropout = mingles, nn.Dropout(0.5)
        self.table = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))

    def forward(self, input_ids: Tensor, position_ids: Tensor, use_cache: bool, logits_to_keep: Tensor) -> SimpleNamespace:
        seen = self.table[input_ids[0]].cumsum(0)
        if not self.mingles:
            starts = (position_ids[0] == 0).nonzero()[:, 0]
            ends = torch.cat([starts[1:], torch.tensor([len(seen)])])
            seen = torch.cat([self.table[input_ids[0, a:b]].cumsum(0) for a, b in zip(starts, ends, strict=True)])
        return SimpleNamespace(logits=self.dropout(seen)[logits_to_keep].unsqueeze(0))


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    lengths = (20, 9, 3)
    write_rows(
        [{"id": str(n), "ids": list(range(n, n + length)), "spans": [[1, length]]} for n, length in enumerate(lengths)], tmp_path
    )
    return Rows(tmp_path)


def test_samples_that_see_each_other_are_refused(rows: Rows) -> None:
    with pytest.raises(Refused, match=r"Set spec\.training\.packing to false") as refused:
        prove_separation(Model(mingles=True), rows, (0, 1, 2), CPU)
    assert refused.value.reason == "PackingLeaks"


def test_dropout_is_no_leak_and_comes_back_after_the_proof(rows: Rows) -> None:
    model = Model(mingles=False).train()
    prove_separation(model, rows, (0, 1, 2), CPU)
    assert model.dropout.training


def test_packing_is_proven_on_rows_of_mixed_lengths_that_a_step_packs_together() -> None:
    lengths = [5, 5, 5, 900, 30, 4, *range(400, 380, -1)]
    assert proof_of([(3,), (0, 1, 2), (3, 4, 5)], lengths) == (3, 4, 5)
    many = tuple(range(6, 26))
    chosen = proof_of([(3, 4, 5), many], lengths)
    assert len(chosen) == PROOF_ROWS
    assert (chosen[0], chosen[-1]) == (many[0], many[-1])
    assert proof_of([(3,), (), (4,)], lengths) == ()


@pytest.mark.parametrize(
    "told", [{"dtype": "float16"}, {"torch_dtype": "float32"}, {}, {"dtype": "bfloat16", "torch_dtype": "float16"}]
)
def test_what_is_exported_in_bf16_says_so(tmp_path: Path, told: dict[str, str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **told}))
    (tmp_path / "export").mkdir()
    tell_dtype(tmp_path, tmp_path / "export")
    written = json.loads((tmp_path / "export/config.json").read_text())
    assert written == {"model_type": "llama", **dict.fromkeys(told or ["dtype"], "bfloat16")}


def test_a_configuration_that_says_bf16_already_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"dtype": "bfloat16"}')
    tell_dtype(tmp_path, tmp_path / "absent")
