"""What judging may cost a day, counted before the money is spent."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tidegauge.config import Judges
from tidegauge.judges.parser import Reply
from tidegauge.judges.rubric import Prompt

MAX_REPLY_TOKENS = 400
BYTES_PER_TOKEN = 2  # fewer than any tokenizer needs for prose, so that an estimate is a bound


@dataclass(slots=True)
class Budget:
    """US dollars of one day (UTC). ``spent`` starts with what earlier rounds of that day recorded."""

    limit_usd: float
    usd_per_1k_tokens: float
    spent: float = 0.0

    @classmethod
    def of(cls, settings: Judges, spent: float) -> Budget:
        """The day's budget under ``settings`` when ``spent`` dollars are gone."""
        return cls(settings.max_usd_per_day, settings.usd_per_1k_tokens, spent)

    def reserve(self, usd: float) -> bool:
        """Take ``usd`` if it is there. A judge that costs nothing is always affordable."""
        if usd > 0 and self.spent + usd > self.limit_usd:
            return False
        self.spent += usd
        return True

    def most(self, prompt: Prompt) -> float:
        """An upper bound of what one question costs, the judge's reply at its longest."""
        sent = len(prompt.system.encode()) + len(prompt.user.encode())
        return self.cost(sent // BYTES_PER_TOKEN + MAX_REPLY_TOKENS)

    def cost(self, tokens: int) -> float:
        """US dollars for ``tokens``."""
        return tokens / 1000 * self.usd_per_1k_tokens

    def cost_of(self, reply: Reply, prompt: Prompt) -> float:
        """What a reply cost; the bound where the judge does not report its usage."""
        tokens = reply.input_tokens + reply.output_tokens
        return self.cost(tokens) if tokens else self.most(prompt)

    def copy(self) -> Budget:
        """The same state, to plan with."""
        return replace(self)
