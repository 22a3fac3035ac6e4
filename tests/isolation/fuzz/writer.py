"""Writes texts by a grammar, and spells them in every way that a server might read."""

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

Tokens = list[str]
Rules = dict[str, Sequence[str | tuple[str, ...]]]
"""What each symbol may stand for: texts, whose tokens are apart by blanks, or tokens. A token that
is a symbol is replaced in turn. `~` says that no blank need be between its neighbours."""

T = TypeVar("T")

GLUE = "~"

MAX_REPLACED = 40
"""After so many symbols a text is brought to its end by the shortest way."""

BLANKS = (" ", "  ", "\n", "\t", "\r\n", "\v", "\f", "\n\n")
COMMENTS = (
    "/**/", "/* c */", "-- c\n", "#c\n", "--\n", "--\t\n", "/*!*/", "/*! */", "/*!50000 */",
    "/*M! */", "/*M!100100 */", "/*!99999 */", "/* ' */", '/* " */', "/* ` */", "/* ; */", "/*/*/",
    "/***/", "/* /* */", "-- '\n", "# */\n", "# /*\n", "-- \"\n", "/*+ MAX_EXECUTION_TIME(9) */",
    "/* %s */", "/* %% */", "/*\n*/", "/* @leak:=1 */", "/* -- */", "/* # */", "--\v\n",
)  # fmt: skip
STRANGE = (
    "\xa0", "\u3000", "\u2003", "\u200b", "\ufeff", "\x85", "\x00", "\x1a", "\x08", "\x1f", "\x7f",
    "\u2028", "--\xa0", "--x", "\\", ";", "@", "{", "}", "*/", "/*", "/*!", "'", '"', "`", "%",
    "%s",
    ":", "$$", "?", "[", "]", "\x01",
)  # fmt: skip

_WORD = re.compile(r"[A-Za-z_]\w*")


def quoted(name: str) -> str:
    return f"`{name}`"


class Writer:
    """Writes by *rules*, all of it decided by *random*."""

    def __init__(self, rules: Rules, random: Random) -> None:
        self.random = random
        split = {
            symbol: [_split(each) if isinstance(each, str) else each for each in texts]
            for symbol, texts in rules.items()
        }
        depths = _depths(split)
        # Reversed, as what is replaced is taken from the end.
        self._rules = {symbol: [each[::-1] for each in texts] for symbol, texts in split.items()}
        self._shortest = {
            symbol: [each for each in texts if _depth(each, depths) == depths[symbol] - 1]
            for symbol, texts in self._rules.items()
        }

    def pick(self, among: Sequence[T]) -> T:
        return among[int(self.random.random() * len(among))]

    def write(self, symbol: str, budget: int = MAX_REPLACED) -> Tokens:
        written: Tokens = []
        rules, shortest, random = self._rules, self._shortest, self.random.random
        todo = [symbol]
        while todo:
            token = todo.pop()
            texts = rules.get(token)
            if texts is None:
                written.append(token)
                continue
            if budget < 0:
                texts = shortest[token]
            budget -= 1
            todo.extend(texts[int(random() * len(texts))])
        return written

    def spell(self, tokens: Tokens) -> str:
        """One line of text, or with other letters, quotes, blanks and comments."""
        style = self.random.random()
        if style < 0.4:
            return _joined(tokens)
        if style < 0.6:
            return _joined([token.lower() if token.isupper() else token for token in tokens])
        return self._spell_strangely(tokens)

    def _spell_strangely(self, tokens: Tokens) -> str:
        random, pick = self.random.random, self.pick
        rare = pick((0.02, 0.1, 0.4))
        gaps = pick((BLANKS, BLANKS, BLANKS + COMMENTS, BLANKS + COMMENTS, COMMENTS + STRANGE))
        out = [pick(gaps) if random() < rare else ""]
        for token in tokens:
            if token == GLUE:
                if random() < rare:
                    out[-1] = pick(gaps)
                else:
                    out[-1] = ""
                continue
            out.append(self._other_word(token) if random() < rare / 3 else token)
            out.append(pick(gaps) if random() < rare else " ")
        return "".join(out)

    def _other_word(self, token: str) -> str:
        if not _WORD.fullmatch(token):
            return token
        change: Callable[[str], str] = self.pick((quoted, '"{}"'.format, str.upper, str.swapcase))
        return change(token)

    def disturb(self, tokens: Tokens, foreign: Callable[[], Tokens]) -> Tokens:
        """*tokens* with one of them lost, doubled, moved or replaced, or with *foreign* ones."""
        tokens = tokens.copy()
        at = int(self.random.random() * len(tokens)) if tokens else 0
        kind = self.random.random()
        if kind < 0.5:
            tokens[at:at] = foreign()
        elif kind < 0.7:
            tokens[at : at + 1] = foreign()
        elif kind < 0.8:
            del tokens[at : at + 1]
        elif kind < 0.9:
            tokens[at:at] = tokens[at : at + 2]
        else:
            tokens.insert(at, self.pick(STRANGE))
        return tokens

    def damage(self, text: str) -> str:
        """*text* with a strange character in it, or cut."""
        at = int(self.random.random() * (len(text) + 1))
        if self.random.random() < 0.15:
            return text[:at]
        return f"{text[:at]}{self.pick(STRANGE)}{text[at:]}"


def _split(text: str) -> tuple[str, ...]:
    return tuple(token for token in text.split(" ") if token)


def _joined(tokens: Tokens) -> str:
    return " ".join(tokens).replace(f" {GLUE} ", "")


def _depths(rules: dict[str, list[tuple[str, ...]]]) -> dict[str, int]:
    """How many replacements deep the shortest text of each symbol is."""
    depths = dict.fromkeys(rules, 10_000)
    while True:
        found = {
            symbol: 1 + min(_depth(each, depths) for each in texts)
            for symbol, texts in rules.items()
        }
        if found == depths:
            return depths
        depths = found


def _depth(text: tuple[str, ...], depths: dict[str, int]) -> int:
    return max((depths.get(token, 0) for token in text), default=0)
