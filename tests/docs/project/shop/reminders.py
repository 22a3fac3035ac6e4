from shop.models import Reminder


def send_next() -> bool:
    return Reminder.send_next()
