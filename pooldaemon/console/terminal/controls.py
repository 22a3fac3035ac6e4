"""The state of the screen of ``top``, and what each key does to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.core.management.base import CommandError

from pooldaemon.console.daemons import Daemon
from pooldaemon.console.terminal.actions import ACTIONS, Action
from pooldaemon.console.view import DaemonView, Health

KEYS = {
    "up down": "choose a daemon (also k and j)",
    "page up, page down": "scroll (also b and space)",
    **{key: action.text for key, action in ACTIONS.items()},
    "?": "this help",
    "q": "quit",
}
"""The keys with their help."""

PAGE = 10
"""Lines by which a page key scrolls."""

STEPS = {"up": -1, "k": -1, "down": 1, "j": 1}
FAR = 10**6
SCROLLS = {
    "page up": -PAGE,
    "b": -PAGE,
    "page down": PAGE,
    " ": PAGE,
    "home": -FAR,
    "end": FAR,
}


class Controls:
    """What is chosen and shown.

    :ivar chosen: the name of the chosen daemon; ``None``: none has been seen yet.
    :ivar offset: lines that the middle is scrolled by.
    :ivar message: the result of the last action, or a question.
    :ivar help: whether the help is shown.
    :ivar ended: whether the user has quit.
    """

    def __init__(self, chosen: str | None = None) -> None:
        self.chosen = chosen
        self.offset = 0
        self.message = ""
        self.help = False
        self.ended = False
        self._asked: Action | None = None

    def look(self, views: Sequence[DaemonView]) -> DaemonView | None:
        """The chosen daemon. If none is chosen, this chooses the first that is running."""
        if self.chosen is None and views:
            living = [view for view in views if view.health is not Health.ENDED]
            self.chosen = (living or views)[0].name
        return next((view for view in views if view.name == self.chosen), None)

    def press(self, key: str, views: Sequence[DaemonView], daemons: Mapping[str, Daemon]) -> None:
        """Handle a key.

        :param views: the daemons on the screen.
        :param daemons: the running ones, by name.
        """
        action, self._asked = self._asked, None
        self.message = ""
        if action is not None:
            if key in ("y", "Y"):
                self._run(action, daemons)
        elif key in ("q", "\x04"):
            self.ended = True
        elif key == "?":
            self.help, self.offset = not self.help, 0
        elif key in STEPS:
            self._choose(STEPS[key], views)
        elif key in SCROLLS:
            self.offset = max(0, self.offset + SCROLLS[key])
        elif key in ACTIONS:
            self._start(ACTIONS[key], views, daemons)

    def _choose(self, step: int, views: Sequence[DaemonView]) -> None:
        names = [view.name for view in views]
        if self.chosen in names:
            number = names.index(self.chosen) + step
            self.chosen = names[max(0, min(number, len(names) - 1))]
            self.offset = 0

    def _start(
        self, action: Action, views: Sequence[DaemonView], daemons: Mapping[str, Daemon]
    ) -> None:
        view = self.look(views)
        if view is None:
            self.message = "there is no daemon"
        elif view.health is not Health.ANSWERS:  # waiting for its answer would block the screen
            ended = view.health is Health.ENDED
            self.message = f"{view.name} {'has ended' if ended else 'does not answer'}"
        elif action.question:
            self._asked = action
            self.message = f"{action.question} {view.name}? y: yes, any other key: no"
        else:
            self._run(action, daemons)

    def _run(self, action: Action, daemons: Mapping[str, Daemon]) -> None:
        if self.chosen is None or (daemon := daemons.get(self.chosen)) is None:
            self.message = f"{self.chosen} has ended"
            return
        try:
            self.message = f"{daemon.name}: {action.run(daemon)}"
        except CommandError as error:
            self.message = str(error)
