"""Budget categorizer: a transaction in, its category out, and who says so: a rule, the model, or neither for sure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archives.contract import read_json
from handlers import validation as take
from handlers.answers import top_labels
from handlers.base import Handler, Outputs
from handlers.budget import values
from handlers.budget.plausibility import unusual_transactions
from handlers.budget.transactions import transactions
from handlers.errors import InvalidError
from models.budget.categories import Scaling, bag
from models.budget.categorizer_summary import summarise
from models.budget.hybrid import FALLBACK, NEVER_SURE, RULE, SOURCES, decide
from models.budget.labels import OPERATIONS, Parsed, find_nameless, parsed
from models.budget.merchants import Merchants, Profile
from models.budget.rules import Rule, as_mapping, read_rules
from models.known_words import KnownWords

REQUIRED = ("label", "amount", "date")
OWNER = ("account", "user")
LONGEST_NAME = 64
"""Characters of an account's or user's name."""

MOST_WORDS = 24
"""Words of a label that an explanation hides one by one."""


class Transaction(NamedTuple):
    """One transaction: the label's kind and cleaned text, EUR (negative when spent), days since 1970-01-01, whose."""

    operation: int
    text: str
    amount: float
    day: int
    account: str = ""
    user: str = ""


class BudgetCategorizerHandler(Handler[Transaction]):
    """Answers `{"label": …, "amount": …, "date": …}`, and `account` and `user` where it is known whose it is."""

    fields = frozenset({*REQUIRED, *OWNER})
    default_top_k = 3
    max_instances = 4096

    def opened(self, folder: Path) -> None:
        """Read the rules, the known merchants and the thresholds."""
        self._know(read_json(folder / "family.json"))
        self.prepare([Transaction(0, "", 0.0, 0)])  # the first pass builds the table that folds letters: 40 ms

    def _know(self, family: dict[str, Any]) -> None:
        self._rules = read_rules(family["rules"])
        self._merchants = Merchants(Profile.read(one) for one in family["merchants"])
        self._scaling = Scaling.read(family["scaling"])
        # An archive from before there were summaries has no words.
        self._words = KnownWords.from_text(family["words"]) if self.contract.summary else None
        labels = {label: position for position, label in enumerate(self.contract.labels)}
        # One more of each at the end: what a rank of -1, no rule, finds.
        self._said = np.array([*(labels[rule.category] for rule in self._rules.rules), -1])
        self._confidence = np.array([*(rule.confidence for rule in self._rules.rules), -1.0])
        self._sure_rule = float(self.contract.thresholds["rule"])
        self._rules_alone = family["mode"] == "rules"
        self._sure_model = NEVER_SURE if self._rules_alone else float(self.contract.thresholds["model"])

    # ---- a request in -------------------------------------------------------------------------------------------

    def decode(self, fields: dict[str, Any]) -> Transaction:
        """Validate ``label``, ``amount`` and ``date``."""
        label, amount, day = values.label(fields), values.amount(fields, "amount"), values.day(fields, "date")
        account, user = (take.text(fields, name, LONGEST_NAME, "") for name in OWNER)
        one = parsed([label])
        return Transaction(int(one.operations[0]), one.texts[0], amount, int(day.astype(np.int64)), account, user)

    def decode_instances(self, instances: Sequence[dict[str, Any]]) -> list[Transaction]:
        """Validate many at once."""
        accounts, users = [""] * len(instances), [""] * len(instances)
        for index, instance in enumerate(instances):
            if len(instance) > len(REQUIRED):
                try:
                    accounts[index], users[index] = (take.text(instance, name, LONGEST_NAME, "") for name in OWNER)
                except InvalidError as error:
                    raise error.inside(f"instances[{index}]") from None
        asked = [{name: instance[name] for name in REQUIRED if name in instance} for instance in instances]
        sent = transactions({"instances": asked}, "instances", self.max_instances, least=1)
        labels = parsed(sent.labels)
        columns = (labels.operations.tolist(), labels.texts, sent.amounts.tolist(), sent.days.tolist(), accounts, users)
        return list(map(Transaction, *columns))

    def find_unusual(self, items: Sequence[Transaction]) -> Sequence[Sequence[take.Unusual]]:
        """Return what is odd about amounts, signs and days."""
        labels, amounts, days = _columns(items)
        return unusual_transactions(self.contract.usual, amounts, days, labels.operations)

    def prepare(self, items: Sequence[Transaction]) -> dict[str, NDArray[Any]]:
        """Make the bags: ``indices`` int64 [B, K], ``weights`` float32 [B, K]."""
        labels, amounts, days = _columns(items)
        indices, weights = bag(labels, amounts, days, self._scaling, [(item.account, item.user) for item in items])
        return {"indices": indices, "weights": weights}

    # ---- an answer out ------------------------------------------------------------------------------------------

    def phrase(self, outputs: Outputs, items: Sequence[Transaction], top_k: Sequence[int]) -> list[Any]:
        """Return each transaction's category, who says so and why, and the model's likeliest categories."""
        probabilities = outputs["probabilities"]
        answers = self._answers(probabilities, items)
        for answer, top in zip(answers, top_labels(probabilities, self.contract.labels, top_k), strict=True):
            answer["top"] = top
        return answers

    def summarise(self, items: Sequence[Transaction], outputs: Outputs) -> NDArray[np.float32]:
        """Return what each transaction is like."""
        if self._words is None:
            return super().summarise(items, outputs)
        labels, amounts, _ = _columns(items)
        return summarise(labels, amounts, self._words)

    def unanswered(self, item: Transaction, top_k: int) -> Any:
        """Answer without the model, as rules can: what is said when the graph gives nothing."""
        count = len(self.contract.labels)
        [answer] = self._answers(np.full((1, count), 1 / count), [item])
        return {**answer, "top": []}

    def _answers(self, probabilities: NDArray[Any], items: Sequence[Transaction]) -> list[dict[str, Any]]:
        labels, amounts, days = _columns(items)
        best = self._rules.fire(labels, amounts, days.astype("datetime64[D]")).best(len(items))
        nameless = find_nameless(labels.texts)
        decided = decide(
            self._said[best], self._confidence[best], probabilities, nameless, self._sure_rule, self._sure_model
        )
        names, rules = self.contract.labels, self._rules.rules
        rows = zip(
            items,
            best.tolist(),
            decided.labels.tolist(),
            decided.probabilities.tolist(),
            decided.sources.tolist(),
            nameless.tolist(),
            strict=True,
        )
        answers = []
        for item, rank, label, probability, source, unnamed in rows:
            merchant = self._merchants.find(item.text)
            answers.append(
                {
                    "label": names[label],
                    "probability": probability,
                    "source": SOURCES[source],
                    "why": self._why(source, probability, rules[rank] if rank >= 0 else None, unnamed),
                    "rule": rules[rank].name if rank >= 0 else None,
                    "operation": OPERATIONS[item.operation],
                    "merchant": merchant.name if merchant else None,
                }
            )
        return answers

    def _why(self, source: int, probability: float, rule: Rule | None, nameless: bool) -> str:
        """Say in one line why this source answered."""
        if source == RULE and rule is not None:
            return f"rule {rule.name} fires, confidence {rule.confidence}"
        heard = f"rule {rule.name} is not sure ({rule.confidence})" if rule else "no rule fires"
        if source != FALLBACK:
            return f"{heard}; the model gives {probability:.2f}, {self._sure_model:.2f} is enough"
        if nameless:
            return f"the label names no one; {heard}"
        if self._rules_alone:
            return f"{heard}; the model is not asked"
        if self._sure_model == NEVER_SURE:
            return f"{heard}; the model was not shown to be right often enough to answer alone"
        return f"{heard}; the model stays below {self._sure_model:.2f}"

    def explain(self, item: Transaction) -> dict[str, Any]:
        """Attribute an answer: a rule by its conditions, the model by occlusion (Zeiler & Fergus, 2014).

        Each word of the label, the kind of booking, the amount, the day, and account and user are left out in turn; an
        attribution is the probability that the model's likeliest category loses. Costs one forward pass of as many
        rows, and one more.
        """
        words = item.text.split()[:MOST_WORDS]
        rest = item.text.split()[MOST_WORDS:]
        texts = [item.text, *(" ".join([*words[:at], *words[at + 1 :], *rest]) for at in range(len(words)))]
        facts = ("operation", "amount", "date", "owner")
        rows = len(texts) + len(facts)
        hidden = {name: np.arange(rows) == len(texts) + at for at, name in enumerate(facts[:-1])}
        indices, weights = bag(
            Parsed(np.full(rows, item.operation), [*texts, *[item.text] * len(facts)]),
            np.full(rows, item.amount),
            np.full(rows, item.day),
            self._scaling,
            [(item.account, item.user)] * (rows - 1) + [("", "")],
            hidden,
        )
        probabilities = self.engine.run({"indices": indices, "weights": weights})["probabilities"].astype(np.float64)
        winner = int(probabilities[0].argmax())
        lost = (probabilities[0, winner] - probabilities[1:, winner]).tolist()
        explanation: dict[str, Any] = {
            "method": "occlusion of the model's answer",
            "label": self.contract.labels[winner],
            "words": [{"word": word, "attribution": value} for word, value in zip(words, lost, strict=False)],
            "attributions": dict(zip(facts, lost[len(words) :], strict=True)),
        }
        [answer] = self._answers(probabilities[:1], [item])
        if answer["rule"] is not None:
            rule = next(rule for rule in self._rules.rules if rule.name == answer["rule"])
            explanation["rule"] = {**as_mapping(rule), "matched": self._rules.matched(rule, item.text)}
        return explanation


def _columns(items: Sequence[Transaction]) -> tuple[Parsed, NDArray[np.float64], NDArray[np.int64]]:
    operations, texts, amounts, days, *_ = zip(*items, strict=True)
    return Parsed(np.array(operations, np.int64), list(texts)), np.array(amounts, np.float64), np.array(days, np.int64)
