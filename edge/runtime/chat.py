"""Hold a conversation with a program, whose KV cache keeps what was said."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from edge.model.chat_template import ChatTemplate, Message
from edge.model.tokenizer import Tokenizer
from edge.ops.kv_layout import WINDOW_ROOM
from edge.runtime.generate import Speed, TextStream, generate
from edge.runtime.load import Program
from edge.runtime.manifest import Manifest


class Chat:
    """A conversation; only tokens that the KV cache does not hold are fed.

    Args:
        pick: picks a token of logits [vocab].
        system: the first message, if there is one.
    """

    def __init__(
        self,
        program: Program,
        manifest: Manifest,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        pick: Callable[[Tensor], int],
        system: str | None = None,
    ) -> None:
        self.program, self.config, self.tokenizer, self.template = (
            program,
            manifest.config,
            tokenizer,
            template,
        )
        self.pick = pick
        self.messages: list[Message] = [] if system is None else [{"role": "system", "content": system}]
        self.cached: list[int] = []  # the tokens in the KV cache

    def say(self, text: str, max_new_tokens: int, on_text: Callable[[str], None]) -> Speed:
        """Answer a message; the answer goes to ``on_text`` piece by piece.

        Raises:
            ValueError: the conversation is longer than the program's cache, or the template fails; the
                message is then not part of it.
        """
        messages = [*self.messages, {"role": "user", "content": text}]
        prompt = self.tokenizer.encode(self.template.render(messages))
        if len(prompt) > self.program.max_seq_len:
            raise ValueError(
                f"the conversation has {len(prompt)} tokens, the program takes {self.program.max_seq_len}; "
                "start another, or export with a longer --max-seq-len"
            )
        kept = self._kept(prompt)
        stream, answer, fed = TextStream(self.tokenizer, prompt), [], []

        def on_token(token: int) -> None:
            fed.append(token)
            piece = stream.add(token)
            answer.append(piece)
            on_text(piece)

        speed = generate(
            self.program, prompt[kept:], max_new_tokens, self.pick, self.config.eos_ids, on_token, kept
        )
        self.cached = (prompt + fed)[: self.program.max_seq_len]
        self.messages = [*messages, {"role": "assistant", "content": "".join(answer)}]
        return speed

    def _kept(self, prompt: list[int]) -> int:
        """Count the tokens of the prompt that need not be fed; the last one must, because it gives logits."""
        pairs = zip(self.cached, prompt, strict=False)
        same = next(
            (i for i, (old, new) in enumerate(pairs) if old != new), min(len(self.cached), len(prompt))
        )
        same = min(same, len(prompt) - 1)
        window, taken_back = self.config.window, len(self.cached) - same
        wraps = 0 < window < self.program.max_seq_len - WINDOW_ROOM
        return 0 if wraps and taken_back > WINDOW_ROOM else same
