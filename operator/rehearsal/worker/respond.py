"""A member of the committee answers every instruction L times."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rehearsal.api.messages import Usage
from rehearsal.api.serving import Sampling
from rehearsal.data.filters import Reason
from rehearsal.inference.chat import ChatRequest
from rehearsal.inference.client import Engine
from rehearsal.inference.completion import Choice, CompletionRequest
from rehearsal.inference.control_strings import ControlStrings
from rehearsal.inference.endpoint import Endpoint
from rehearsal.pipeline.external import BASE
from rehearsal.prompts.model import ChatModel
from rehearsal.prompts.template import Message, UnencodableError
from rehearsal.store.commit import Artifact
from rehearsal.worker.context import Context, Outcome, reconstruction
from rehearsal.worker.endpoint_stage import NOT_SENT, control_strings, run_on_endpoint
from rehearsal.worker.engine_stage import max_model_len, room_for, run_on_engine
from rehearsal.worker.sampled_stage import row_seed
from rehearsal.worker.shards import REFUSED, Made, Work
from rehearsal.worker.slices import rows_between

Instruction = Mapping[str, Any]
BROKEN = str(Reason.CONTROL)
"""The `finish` of an answer with a control token inside: the member fell out of its role. Later stages have other tokenizers
and could not tell; to them it is one more answer that did not stop where it should."""


def run(context: Context) -> Outcome:
    """Seal rows `{"id", "answers": [{"text", "ids", "finish"}, …]}`; an instruction that the member cannot be asked has none.

    A member behind an endpoint has no `ids`, and tells under `refused` why an instruction has no answer.
    """
    return run_on_endpoint(context, _Asking.of) if context.stage.endpoint else run_on_engine(context, _Responding.of)


def _asked_about(instructions: Artifact) -> Work[Instruction]:
    return Work(instructions.sealed().rows, lambda start, stop: rows_between(instructions, start, stop))


@dataclass(frozen=True)
class _Responding:
    fingerprint: str
    instructions: Artifact
    answers: int
    sampling: Sampling
    max_model_len: int
    model: ChatModel

    @classmethod
    def of(cls, context: Context) -> "_Responding":
        committee = reconstruction(context.spec).committee
        return cls(
            context.output.fingerprint,
            context.input("instructions"),
            committee.responses_per_member,
            committee.sampling,
            max_model_len(context),
            ChatModel.load(context.model_dir),
        )

    @property
    def work(self) -> Work[Instruction]:
        return _asked_about(self.instructions)

    async def produce(self, client: Engine, index: int, item: Instruction) -> Made:
        prompt = self._prompt(item["text"])
        room = room_for(self.sampling.max_tokens, len(prompt), self.max_model_len)
        if not prompt or room < 1:
            return {"id": item["id"], "answers": []}, Usage()
        # Greedy answers are all the same one, and engines refuse to draw it more than once.
        greedy = self.sampling.temperature == 0
        request = CompletionRequest(
            prompt=prompt,
            max_tokens=room,
            n=1 if greedy else self.answers,
            temperature=self.sampling.temperature,
            top_p=self.sampling.top_p,
            stop_ids=self.model.end_ids,
            seed=row_seed(self.fingerprint, index),
        )
        completion = await client.complete(request)
        choices = completion.choices * (self.answers if greedy else 1)
        return {"id": item["id"], "answers": [self._answer(choice) for choice in choices]}, completion.usage

    def _prompt(self, text: str) -> tuple[int, ...]:
        try:
            return self.model.prompt([Message("user", text)])
        except UnencodableError:
            return ()

    def _answer(self, choice: Choice) -> dict[str, object]:
        whole = self.model.control_ids.isdisjoint(choice.ids)
        finish = choice.finish if whole else BROKEN
        return {"text": self.model.decode(choice.ids), "ids": list(choice.ids), "finish": finish}


@dataclass(frozen=True)
class _Asking:
    """A member behind an endpoint: text goes out and comes back."""

    fingerprint: str
    instructions: Artifact
    answers: int
    sampling: Sampling
    control: ControlStrings

    @classmethod
    def of(cls, context: Context) -> "_Asking":
        committee, control = reconstruction(context.spec).committee, control_strings(context, [BASE])
        samples = committee.responses_per_member
        return cls(context.output.fingerprint, context.input("instructions"), samples, committee.sampling, control)

    @property
    def work(self) -> Work[Instruction]:
        return _asked_about(self.instructions)

    async def produce(self, client: Endpoint, index: int, item: Instruction) -> Made:
        if self.control.within(item["text"]):
            return {"id": item["id"], "answers": [], REFUSED: {NOT_SENT: 1}}, Usage()
        greedy = self.sampling.temperature == 0
        chat = await client.chat(
            ChatRequest(
                [{"role": "user", "content": item["text"]}],
                max_tokens=self.sampling.max_tokens,
                n=1 if greedy else self.answers,
                temperature=self.sampling.temperature,
                top_p=self.sampling.top_p,
                seed=row_seed(self.fingerprint, index),
            )
        )
        if chat.declined:
            return {"id": item["id"], "answers": [], REFUSED: {chat.declined: 1}}, chat.usage
        said = chat.choices * (self.answers if greedy else 1)
        return {"id": item["id"], "answers": [{"text": one.text, "ids": [], "finish": one.finish} for one in said]}, chat.usage
