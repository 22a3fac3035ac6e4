from typing import Any, Self

from django.db import models
from django.utils import timezone


class Invoice(models.Model):
    number = models.IntegerField(null=True)

    def __str__(self) -> str:
        return str(self.number)

    def assign_number(self) -> None:
        self.number = self.pk
        self.save()


class Order(models.Model):
    status = models.CharField(max_length=20, default="sent")
    answer = models.CharField(max_length=20)
    is_final = True

    def __str__(self) -> str:
        return self.status

    def as_json(self) -> str:
        return f'{{"status": "{self.status}"}}'

    def record(self, answer: str) -> None:
        self.answer = answer
        self.save()


class Reminder(models.Model):
    phone = models.CharField(max_length=20)
    text = models.TextField()
    claimed = models.BooleanField(default=False)
    sent = models.BooleanField(default=False)

    def __str__(self) -> str:
        return self.text

    @classmethod
    def claim_next(cls) -> Self | None:
        reminder = cls.objects.filter(claimed=False).first()
        if reminder is not None:
            reminder.claimed = True
            reminder.save()
        return reminder

    @classmethod
    def send_next(cls) -> bool:
        reminder = cls.claim_next()
        if reminder is not None:
            reminder.record()
        return reminder is not None

    def record(self, _receipt: Any = None) -> None:
        self.sent = True
        self.save()


class Transfer(models.Model):
    done = models.BooleanField(default=False)
    failures = models.IntegerField(default=0)
    run_after = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.failures} failures"

    def execute(self) -> None:
        self.done = True
        self.save()


class Visit(models.Model):
    path = models.CharField(max_length=200)

    def __str__(self) -> str:
        return self.path
