"""The result of the demo, and whether its numbers match."""

from dataclasses import dataclass

from django.db.models import Count, QuerySet

from pooldaemon_example.webhooks.models import Delivery
from pooldaemon_example.webhooks.receiver import Stats


@dataclass(frozen=True)
class Summary:
    lines: int
    delivered: int
    retried: int
    dead: int
    pending: int
    reasons: dict[str, int]
    receiver: Stats
    seconds: float
    workers: list[str]

    @classmethod
    def of(
        cls,
        deliveries: QuerySet[Delivery],
        lines: int,
        receiver: Stats,
        seconds: float,
        workers: list[str],
    ) -> "Summary":
        status = Delivery.Status
        delivered = deliveries.filter(status=status.DELIVERED)
        dead = deliveries.filter(status=status.DEAD)
        reasons = dead.values_list("error").annotate(number=Count("id")).order_by("-number")
        return cls(
            lines=lines,
            delivered=delivered.count(),
            retried=delivered.filter(attempts__gt=1).count(),
            dead=dead.count(),
            pending=deliveries.filter(status=status.PENDING).count(),
            reasons=dict(reasons),
            receiver=receiver,
            seconds=seconds,
            workers=workers,
        )

    def faults(self) -> list[str]:
        """The differences between the table, the sample and the receiver. Empty if each line of the
        sample was delivered exactly once or is dead."""
        found = []
        if self.delivered + self.dead != self.lines:
            found.append(
                f"{self.lines} lines, but {self.delivered} delivered + {self.dead} dead"
                f" ({self.pending} still pending)"
            )
        if self.receiver.accepted != self.delivered:
            found.append(
                f"{self.delivered} delivered, but the receiver accepted {self.receiver.accepted}"
            )
        if self.receiver.duplicates:
            found.append(f"the receiver accepted {self.receiver.duplicates} a second time")
        if self.receiver.rejected:
            found.append(f"the receiver refused {self.receiver.rejected} signatures")
        return found

    def text(self) -> str:
        receiver = self.receiver
        rate = (self.delivered + self.dead) / self.seconds
        rows = [
            ("lines in sample", f"{self.lines}"),
            ("delivered", f"{self.delivered}, {self.retried} of them after a retry"),
            ("dead", f"{self.dead}"),
            *(("", f"{number:>4}  {reason}") for reason, number in self.reasons.items()),
            ("receiver counted", f"{receiver.accepted} accepted, {receiver.duplicates} repeated"),
            ("", f"{receiver.failed} simulated failures"),
            ("time", f"{self.seconds:.1f} s, {rate:.0f} deliveries/s"),
            ("connections", "peak of each worker"),
            *(("", f"  {worker}") for worker in self.workers),
        ]
        return "\n".join(f"{name:<17} {value}" for name, value in rows)
