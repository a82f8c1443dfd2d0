"""Elicit instructions: the base model goes on from the part of its chat template that precedes a user's words.

A text ends at the tokens that end a user's turn and nowhere else: any other stop would bend the distribution.
"""

from dataclasses import dataclass

from rehearsal.api.serving import Sampling
from rehearsal.inference.client import Engine
from rehearsal.inference.completion import CompletionRequest
from rehearsal.pipeline.reconstruction import round_rows
from rehearsal.prompts.model import ChatModel
from rehearsal.prompts.prequery import PreQuery
from rehearsal.worker.context import Context, Outcome, reconstruction
from rehearsal.worker.engine_stage import max_model_len, room_for, run_on_engine
from rehearsal.worker.sampled_stage import row_seed
from rehearsal.worker.shards import Made, Work


def run(context: Context) -> Outcome:
    """Seal rows `{"id", "ids", "text", "finish"}`, fit or not: to choose among them is the filter's."""
    return run_on_engine(context, _Elicitation.of)


@dataclass(frozen=True)
class _Elicitation:
    fingerprint: str
    round: int
    rows: int
    sampling: Sampling
    max_tokens: int
    model: ChatModel
    pre_query: PreQuery

    @classmethod
    def of(cls, context: Context) -> "_Elicitation":
        made, round_ = reconstruction(context.spec), context.stage.round
        model = ChatModel.load(context.model_dir)
        pre_query = model.pre_query(made.pre_query.text)
        room = room_for(made.sampling.max_tokens, len(pre_query.ids), max_model_len(context))
        rows = round_rows(made.count, round_)
        return cls(context.output.fingerprint, round_, rows, made.sampling, room, model, pre_query)

    @property
    def work(self) -> Work[int]:
        return Work(self.rows, range)

    async def produce(self, client: Engine, index: int, _item: int) -> Made:
        request = CompletionRequest(
            prompt=self.pre_query.ids,
            max_tokens=self.max_tokens,
            temperature=self.sampling.temperature,
            top_p=self.sampling.top_p,
            stop_ids=tuple(sorted(self.pre_query.user_end_ids)),
            ignore_eos=True,
            seed=row_seed(self.fingerprint, index),
        )
        completion = await client.complete(request)
        said = completion.choices[0]
        whole = said.ids if said.end is None else (*said.ids, said.end)
        text = self.model.instruction(self.pre_query, whole)
        row = {"id": f"{self.round}-{index:07d}", "ids": list(said.ids), "text": text or "", "finish": said.finish}
        return row, completion.usage
