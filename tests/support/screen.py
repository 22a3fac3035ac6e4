"""What somebody would see who sits at a terminal: just as much of one as our output needs."""

import re

TOKEN = re.compile(
    r"\033(?:\[(?P<numbers>[\d;]*)(?P<final>[A-Za-z])|(?P<escape>[78D]))|(?P<text>.)", re.DOTALL
)


class Screen:
    """:ivar scrolled: the lines that have left the screen at its top."""

    def __init__(self, height: int) -> None:
        self.height = height
        self.rows = [""] * height
        self.scrolled: list[str] = []
        self._row = self._column = 0
        self._saved = (0, 0)
        self._region = (0, height - 1)

    @property
    def log(self) -> list[str]:
        """Every line that was ever above the bottom of the region that scrolls."""
        lines = [*self.scrolled, *self.rows[: self._region[1] + 1]]
        return [line.rstrip() for line in lines if line.strip()]

    @property
    def bottom(self) -> list[str]:
        """The lines below that region."""
        return [line.rstrip() for line in self.rows[self._region[1] + 1 :]]

    def feed(self, text: str) -> None:
        for token in TOKEN.finditer(text):
            if token["text"]:
                self._put(token["text"])
            elif token["escape"]:
                self._escape(token["escape"])
            else:
                numbers = [int(number) for number in token["numbers"].split(";") if number]
                self._control(token["final"], numbers)

    def _put(self, letter: str) -> None:
        if letter == "\r":
            self._column = 0
        elif letter == "\n":
            self._down()
        else:
            line = self.rows[self._row].ljust(self._column)
            self.rows[self._row] = line[: self._column] + letter + line[self._column + 1 :]
            self._column += 1

    def _down(self) -> None:
        top, bottom = self._region
        if self._row == bottom:
            line = self.rows.pop(top)
            self.rows.insert(bottom, "")
            if top == 0:
                self.scrolled.append(line)
        else:
            self._row = min(self._row + 1, self.height - 1)

    def _escape(self, letter: str) -> None:
        if letter == "7":
            self._saved = (self._row, self._column)
        elif letter == "8":
            self._row, self._column = self._saved
        else:
            self._down()

    def _control(self, final: str, numbers: list[int]) -> None:
        if final == "H":
            self._row, self._column = numbers[0] - 1, numbers[1] - 1
        elif final == "A":
            self._row = max(0, self._row - max(1, numbers[0]))
        elif final == "K":
            assert numbers == [2]
            self.rows[self._row] = ""
        elif final == "r":
            top, bottom = numbers or (1, self.height)
            self._region = (top - 1, bottom - 1)
            self._row = self._column = 0
        else:
            raise AssertionError(f"this terminal does not know {final!r}")
